"""Publishing as a transaction: upload, verify, then name. If it is interrupted anywhere, another call finishes it.

A name does not exist, or keeps its old files, until transformers has loaded the new files and they compute what the
native model computes. `cache` and `endpoint` implement the parts for their targets.
"""

from dataclasses import dataclass
from pathlib import Path

from olmo_core.artifact.imports import swift_imports
from olmo_core.hub.names import MAIN, in_order
from olmo_core.hub.revision import LIST_FILE
from olmo_core.hub.target import PublishError, RevisionFiles, Target


@dataclass(frozen=True)
class Publication:
    """A published revision.

    Attributes:
        name: the revision.
        commit: its commit id, 40 hex digits.
        reused: whether it was already published with exactly these files.
        kept: paths at which it keeps a file of others instead of its own, such as a model card written by hand.
        largest_difference: largest difference of a logit from the native model's; None if nothing was loaded.
    """

    name: str
    commit: str
    reused: bool
    kept: tuple[str, ...] = ()
    largest_difference: float | None = None


def publish(revision: RevisionFiles, native: Path, target: Target) -> Publication:
    """Publish a revision to a target.

    Args:
        revision: name and files.
        native: folder of the checkpoint or soup that the revision was exported from.
        target: where to publish.

    Raises:
        PublishError: a revision listed in its `revisions.txt` is not published yet, files of others are in the way, or
            the target does not hold the uploaded files.
        PauseError: the Hub accepts no requests for some time; another call after that continues.
        ParityError: the files load, but do not compute what the native model computes.
    """
    _check_listed(revision, target.published())
    if (existing := find_publication(revision, target)) is not None:
        return existing
    commit = target.upload(revision)
    if not target.holds(commit, revision):
        raise PublishError(
            f"{target.repo}: commit {commit} does not hold the files of {revision.name} after uploading them"
        )
    with swift_imports():
        from olmo_core.hub.parity import verify

    with target.cache(commit, revision) as cache:
        parity = verify(target.repo, commit, cache, native)
    head = target.move_name(commit, revision)
    return Publication(revision.name, head.commit, False, head.kept, parity.largest_difference)


def find_publication(revision: RevisionFiles, target: Target) -> Publication | None:
    """Return the revision if a target has published it with exactly these files, else None.

    Finishes anything that an interrupted earlier call left undone: the list of names, a staging branch.
    """
    commit = target.published().get(revision.name)
    if commit is None or not target.holds(commit, revision):
        return None
    head = target.move_name(commit, revision)
    return Publication(revision.name, head.commit, reused=True, kept=head.kept)


def published(target: Target) -> list[str]:
    """Return the names of a target's published revisions by stage, ingredient and step, `main` last."""
    return in_order(target.published())


def _check_listed(revision: RevisionFiles, published: dict[str, str]) -> None:
    path = revision.folder / LIST_FILE
    if not any(entry.path == LIST_FILE for entry in revision.files):
        return
    listed = [name for name in path.read_text(encoding="utf-8").split() if name != revision.name]
    if missing := [name for name in listed if name not in published]:
        raise PublishError(
            f"{revision.name} lists {len(listed)} other revisions, {len(missing)} are not published yet, the first is "
            f"{missing[0]}; publish them before {MAIN}"
        )
