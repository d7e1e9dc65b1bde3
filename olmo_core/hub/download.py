"""Download files of one commit of a Hub and compare each with the digest that the Hub reports."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from olmo_core.artifact.files import sha256_file
from olmo_core.hub.convert import ConversionError


def download(repo: str, commit: str, wanted: Sequence[str], cache: str, endpoint: str | None) -> Path:
    """Download the files of a commit that match `wanted`; return their folder, which is below `cache`.

    Args:
        repo: `organisation/name`.
        commit: its 40 hex digits.
        wanted: shell patterns of paths.
        cache: folder in which the client keeps its files.
        endpoint: address of the Hub; by default the client's own.

    Raises:
        ConversionError: the Hub has no such commit, or a downloaded file differs from it.
        ConnectionError: the Hub cannot be reached, or fails.
    """
    from httpx2 import TransportError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=endpoint)
    try:
        tree = list(api.list_repo_tree(repo, revision=commit, recursive=True))
        folder = Path(api.snapshot_download(repo, revision=commit, cache_dir=cache, allow_patterns=list(wanted)))
    except TransportError as error:
        raise ConnectionError(f"{repo} at {commit}: the Hub cannot be reached: {error}") from error
    except HfHubHTTPError as error:
        transient = error.response.status_code == 429 or error.response.status_code >= 500
        raise (ConnectionError if transient else ConversionError)(
            f"{repo} at {commit} cannot be downloaded from the Hub: {error}"
        ) from error
    known = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if not _same(path, known[name]):
            raise ConversionError(f"{repo} at {commit}: the downloaded {name} differs from the one in the commit")
    return folder


def _same(path: Path, entry: Any) -> bool:
    """Return whether a file is the one of a commit: the Hub reports the sha256 of LFS files, else the git blob id."""
    if entry.lfs is not None:
        return bool(sha256_file(path) == entry.lfs.sha256)
    content = path.read_bytes()
    return bool(hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == entry.blob_id)
