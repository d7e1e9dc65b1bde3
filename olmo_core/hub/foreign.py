"""Find the files of a branch that others wrote: they stay, and if they are in the way, nothing is published.

Our files are `lineage.json` and the files it lists, unless they were changed since. A model card written by others
replaces ours. Any other file at the path of one of ours, or loaded instead of one, is a conflict.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from huggingface_hub.hf_api import RepoFile

from olmo_core.artifact.record import FileEntry
from olmo_core.hub.file_names import CONFIG
from olmo_core.hub.lineage import LINEAGE_FILE, listed_files
from olmo_core.hub.revision import CARD_FILE
from olmo_core.hub.target import PublishError, RevisionFiles

# A card with metadata only, as the website writes it when it creates a repository.
_BLANK_CARD = re.compile(rb"\s*(---\r?\n((?!---).*\n)*---\s*)?")


@dataclass(frozen=True)
class Difference:
    """The difference between a commit and the files of a revision.

    Attributes:
        missing: files to write.
        extra: paths of our own files to delete.
        kept: paths of the revision that keep a file of others.
    """

    missing: tuple[FileEntry, ...]
    extra: tuple[str, ...]
    kept: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything to write or to delete."""
        return bool(self.missing or self.extra)


def compare_own(tree: Mapping[str, RepoFile], revision: RevisionFiles) -> Difference:
    """Compare a branch that only we write to with a revision."""
    extra = tree.keys() - {entry.path for entry in revision.files}
    return Difference(tuple(_missing(tree, revision)), tuple(sorted(extra)))


def compare_shared(
    tree: Mapping[str, RepoFile], revision: RevisionFiles, read: Callable[[str], bytes], where: str
) -> Difference:
    """Compare a branch that others may have written to with a revision.

    Args:
        tree: path -> file of its head.
        revision: the files it should hold.
        read: returns the content of a path.
        where: repository and branch, for the message.

    Raises:
        PublishError: files of others are in the way; names them and the remedy.
    """
    difference, own = compare_own(tree, revision), _OwnFiles(tree, read)
    foreign = {entry.path for entry in difference.missing if entry.path in tree and not own.wrote(entry.path)}
    unrelated = {path for path in difference.extra if not own.wrote(path)}
    if conflicts := sorted((foreign - {CARD_FILE}) | {path for path in unrelated if _is_loaded(path)}):
        raise PublishError(
            f"{where} holds {', '.join(conflicts)}, which this project did not write or which was changed since; move "
            "or delete these files, or publish to another repository (release.card.repo, or hub.repo of the profile)"
        )
    return Difference(
        tuple(entry for entry in difference.missing if entry.path not in foreign),
        tuple(path for path in difference.extra if path not in unrelated),
        tuple(sorted(foreign)),
    )


class _OwnFiles:
    """Tells which files of a tree are unchanged since our last publication wrote them."""

    def __init__(self, tree: Mapping[str, RepoFile], read: Callable[[str], bytes]) -> None:
        self._tree = tree
        self._read = read

    @cached_property
    def _listed(self) -> dict[str, str]:
        return listed_files(self._read(LINEAGE_FILE)) if LINEAGE_FILE in self._tree else {}

    def wrote(self, path: str) -> bool:
        if path == LINEAGE_FILE:
            return bool(self._listed)
        if path not in self._listed and path != CARD_FILE:
            return False
        if (lfs := self._tree[path].lfs) is not None:
            return self._listed.get(path) == lfs.sha256
        content = self._read(path)
        blank = path == CARD_FILE and _BLANK_CARD.fullmatch(content) is not None
        return blank or self._listed.get(path) == hashlib.sha256(content).hexdigest()


def _is_loaded(path: str) -> bool:
    """Return whether transformers would load a file outside the revision instead of one in it."""
    return "/" not in path and (path.endswith(".safetensors") or path in {CONFIG, "adapter_config.json"})


def _missing(tree: Mapping[str, RepoFile], revision: RevisionFiles) -> list[FileEntry]:
    return [entry for entry in revision.files if entry.path not in tree or not _same(tree[entry.path], entry, revision)]


def _same(found: RepoFile, entry: FileEntry, revision: RevisionFiles) -> bool:
    if found.size != entry.size:
        return False
    if found.lfs is not None:
        return found.lfs.sha256 == entry.sha256
    content = (revision.folder / entry.path).read_bytes()
    return found.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
