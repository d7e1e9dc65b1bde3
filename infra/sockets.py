"""Choose folders for Unix sockets, whose paths are limited to 107 bytes: home and TMPDIR may be longer."""

import os
import sys
import tempfile
from pathlib import Path

from infra.services.errors import ServiceError

PATH_BYTES = 103 if sys.platform == "darwin" else 107
SHARED = Path("/tmp")


def own_folder(room: int) -> Path:
    """Return the folder for sockets of one process: TMPDIR, or /tmp if TMPDIR is too long.

    Args:
        room: bytes of a socket's path below the folder.

    Raises:
        ServiceError: neither is usable; names TMPDIR.
    """
    return _first(room, Path(tempfile.gettempdir()), SHARED)


def shared_folder(room: int) -> Path:
    """Return the folder for sockets that processes with another TMPDIR must find: /tmp, or TMPDIR if there is no /tmp.

    Args:
        room: bytes of a socket's path below the folder.

    Raises:
        ServiceError: neither is usable; names TMPDIR.
    """
    return _first(room, SHARED, Path(tempfile.gettempdir()))


def _first(room: int, *folders: Path) -> Path:
    for folder in folders:
        if len(os.fsencode(folder)) + room <= PATH_BYTES and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise ServiceError(
        f"TMPDIR={tempfile.gettempdir()} is too long for a socket, and {SHARED} is not writable; set TMPDIR to a "
        f"folder whose path has at most {PATH_BYTES - room} characters"
    )
