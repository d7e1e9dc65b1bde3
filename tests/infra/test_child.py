import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from infra.child import start_child, stop_child

DEADLINE_SECONDS = 20
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition: object, message: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, message
        time.sleep(0.02)


def test_child_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    code = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from infra.child import start_child\n"
        f"child = start_child([sys.executable, '-c', {SLEEPER!r}], os.environ, Path({str(log)!r}))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_until(lambda: log.read_text() == "up\n", "the child did not start")
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    wait_until(lambda: gone(child), "the child outlived its parent")


def test_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"
    child = start_child([sys.executable, "-c", code], os.environ, log)
    wait_until(lambda: log.read_text() == "up\n", "the child did not start")
    assert os.getsid(child.pid) == child.pid, "otherwise Ctrl-C in our terminal would reach it"
    stop_child(child)
    assert child.returncode == -signal.SIGKILL
