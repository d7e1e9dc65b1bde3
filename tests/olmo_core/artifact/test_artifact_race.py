"""Concurrent processes: one executes, a dead owner is taken over, a superseded owner is refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from artifact_work import gated

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store

TIMEOUT = 60.0
STEP = Step("corpus", "wiki", 1, {"word": "soup"}, {}, gated)

# Waits for a line on stdin, so that all start together; prints the outcome.
STARTER = """
import sys
from pathlib import Path
import artifact_work
from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
root, scratch, ttl, work = sys.argv[1:]
store = Store(root, Path(scratch), float(ttl))
store.find(Step("warm", "up", 1))
step = Step("corpus", "wiki", 1, {"word": "soup"}, {}, getattr(artifact_work, work))
print("ready", flush=True)
sys.stdin.readline()
try:
    made = make(step, store)
    print("reused" if made.reused else "made", made.artifact.record.digest, flush=True)
except BaseException as error:
    print(type(error).__name__, flush=True)
"""


def start(root: str, scratch: Path, ttl: float = 3600, work: str = "words") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", STARTER, root, str(scratch), str(ttl), work]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("sort", ["local", "s3"])
def test_concurrent_processes_run_a_step_once(
    sort: str, tmp_path: Path, journal: Path, request: pytest.FixtureRequest
) -> None:
    root = str(tmp_path / "root") if sort == "local" else request.getfixturevalue("s3_root")
    processes = [start(root, tmp_path / f"scratch{number}") for number in range(4)]
    assert [line(process) for process in processes] == ["ready"] * 4
    for process in processes:
        go(process)
    outcomes = [process.communicate(timeout=TIMEOUT)[0].split() for process in processes]
    assert sorted(outcome[0] for outcome in outcomes) == ["made", "reused", "reused", "reused"]
    assert len({outcome[1] for outcome in outcomes}) == 1
    assert journal.read_text() == "words\n"


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a pipe that the work `gated` waits on; it first writes to a second one, `<gate>.begun`."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    os.mkfifo(f"{path}.begun")
    monkeypatch.setenv("ARTIFACT_TEST_GATE", str(path))
    return path


@pytest.mark.parametrize("sort", ["local", "s3"])
def test_killed_owner_is_taken_over_at_once(
    sort: str, tmp_path: Path, gate: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    root = str(tmp_path / "root") if sort == "local" else request.getfixturevalue("s3_root")
    owner = start(root, tmp_path / "scratch", work="gated")
    assert line(owner) == "ready"
    go(owner)
    assert Path(f"{gate}.begun").read_text() == "begun"
    owner.kill()
    owner.communicate()
    monkeypatch.delenv("ARTIFACT_TEST_GATE")
    made = make(STEP, Store(root, tmp_path / "own", ttl=3600))
    assert not made.reused and made.artifact.record.attempt == 2


def test_paused_owner_is_superseded_and_cannot_commit(
    tmp_path: Path, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "root")
    owner = start(root, tmp_path / "scratch", ttl=1.0, work="gated")
    assert line(owner) == "ready"
    go(owner)
    assert Path(f"{gate}.begun").read_text() == "begun"
    owner.send_signal(signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.delenv("ARTIFACT_TEST_GATE")
        owners: list[object] = []
        made = make(STEP, Store(root, ttl=1.0), waiting=owners.append)
    assert not made.reused and len(owners) == 1 and f"process {owner.pid} on " in str(owners[0])
    owner.send_signal(signal.SIGCONT)
    gate.write_text("go on")
    assert owner.communicate(timeout=TIMEOUT)[0].split() == ["SupersededError"]
    found = Store(root).find(STEP)
    assert found is not None and found.record == made.artifact.record
    assert [path.name for path in found.path.parent.glob("attempt-*")] == ["attempt-2"]
