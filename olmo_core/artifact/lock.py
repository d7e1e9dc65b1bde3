"""A file that one process holds at a time, on file systems with locks and without."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import SoftFileLock

# What flock says on exFAT over FUSE, on SMB, and on NFS without its lock daemon.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL, errno.EPERM)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the right to `path` and hold it while the block runs; a holder that died loses it at once.

    Where the file system has no locks, a file beside it is created exclusively instead.
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
