"""Files of one commit of a Hub, downloaded, each compared with the digest the Hub has of it.

What the files are is the business of those who ask for them.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from olmo_core.artifact.files import sha256_file
from olmo_core.hub.convert import ConversionError


def download(repo: str, commit: str, wanted: Sequence[str], cache: str, endpoint: str | None) -> Path:
    """Return a folder with the files of a commit that match `wanted`, shell patterns; it lies below `cache`.

    Args:
        repo: `organisation/name`.
        commit: its 40 hex digits.
        wanted: patterns of paths.
        cache: folder the client keeps its files in.
        endpoint: address of the Hub, the client's own default when None.

    Raises:
        ConversionError: the Hub has no such commit, or the files came with other bytes than it has.
        ConnectionError: the Hub cannot be reached, or is out of order.
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
        passing = error.response.status_code == 429 or error.response.status_code >= 500
        raise (ConnectionError if passing else ConversionError)(
            f"{repo} at {commit} cannot be had from the Hub: {error}"
        ) from error
    known = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if not _same(path, known[name]):
            raise ConversionError(f"{repo} at {commit}: {name} came with other bytes than the commit has")
    return folder


def _same(path: Path, entry: Any) -> bool:
    """Whether a file is the one of a commit: large ones are known by their sha256, others as git blobs."""
    if entry.lfs is not None:
        return bool(sha256_file(path) == entry.lfs.sha256)
    content = path.read_bytes()
    return bool(hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == entry.blob_id)
