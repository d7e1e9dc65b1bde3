"""A file lock that also works on file systems without locks."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import SoftFileLock

# Errors of flock on exFAT over FUSE, on SMB, and on NFS without its lock daemon.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL, errno.EPERM)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the lock on `path` and hold it while the block runs; a holder that dies loses it at once.

    On a file system without locks, an exclusively created file next to `path` serves as the lock instead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        file = held.enter_context(path.open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            held.enter_context(SoftFileLock(path.with_name(f"{path.name}.held")))
        yield
