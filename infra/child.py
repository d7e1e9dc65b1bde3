"""Child processes that cannot outlive their parent: the kernel ends them when it dies, for any reason.

Each has its own session, so that Ctrl-C in a terminal reaches only the parent, which ends its children in order.
"""

import contextlib
import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
GRACE_SECONDS = 3
KILL_SECONDS = 2


def start_child(
    command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in `folder` with its output in `log`; on Linux it gets SIGTERM when the starting thread ends."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )


def stop_child(child: subprocess.Popen[bytes]) -> None:
    """End a child with SIGTERM, and with SIGKILL if it is still alive after the grace period."""
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def adopt_orphans() -> None:
    """Become the parent of processes that our children leave behind, so that `kill_descendants` finds them (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def kill_descendants() -> None:
    """Kill every descendant of this process; return when all have ended, or after `KILL_SECONDS`."""
    import psutil

    end = time.monotonic() + KILL_SECONDS
    while time.monotonic() < end:
        alive = [each for each in psutil.Process().children(recursive=True) if _is_alive(each)]
        if not alive:
            return
        for each in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(alive, timeout=0.1)


def _is_alive(process: "psutil.Process") -> bool:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
