"""Where Unix sockets go: their paths may have 107 bytes, while a home or a temporary folder may lie deep."""

import os
import sys
import tempfile
from pathlib import Path

from infra.services.errors import ServiceError

PATH_BYTES = 103 if sys.platform == "darwin" else 107
SHARED = Path("/tmp")


def own_folder(room: int) -> Path:
    """Return where one process puts sockets whose paths go on for `room` bytes: TMPDIR, or /tmp if that is too long.

    Raises:
        ServiceError: neither will do; names TMPDIR.
    """
    return _first(room, Path(tempfile.gettempdir()), SHARED)


def shared_folder(room: int) -> Path:
    """Return where sockets go that processes with another TMPDIR have to find too: /tmp, or TMPDIR without one.

    Raises:
        ServiceError: neither will do; names TMPDIR.
    """
    return _first(room, SHARED, Path(tempfile.gettempdir()))


def _first(room: int, *folders: Path) -> Path:
    for folder in folders:
        if len(os.fsencode(folder)) + room <= PATH_BYTES and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise ServiceError(
        f"TMPDIR={tempfile.gettempdir()} is too long for a socket, and {SHARED} cannot be written; set TMPDIR to a "
        f"folder whose path has at most {PATH_BYTES - room} characters"
    )
