"""Groups of real processes under a real supervisord."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.services.supervisor import NAME_BYTES, Group, Program, short_path

DEADLINE_SECONDS = 30
SLEEPER = [sys.executable, "-c", "import os, time; print('here is', os.environ['MARK'], flush=True); time.sleep(600)"]
CANARY = "canary-in-the-environment"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    group = Group(tmp_path / "services")
    yield group
    if group.running:
        group.stop()


def start(group: Group, *programs: Program) -> None:
    group.start(programs, {**os.environ, "CANARY": CANARY})
    for program in programs:
        group.launch(program.name)


def test_group_never_started_has_no_states(group: Group) -> None:
    assert not group.running
    assert group.states() == {}


def test_programs_get_environment_and_end_with_group(group: Group) -> None:
    start(group, Program("one", SLEEPER, {"MARK": "100 %, \"quoted\" and 'so'"}))
    wait_until(lambda: group.states()["one"].name == "RUNNING")
    wait_until(lambda: "here is 100 %, \"quoted\" and 'so'" in group.log("one").read_text())
    process = psutil.Process(group.states()["one"].pid)
    assert process.environ()["CANARY"] == CANARY
    group.stop()
    assert not group.running
    wait_until(lambda: not process.is_running())


def test_program_ends_by_its_own_signal(group: Group) -> None:
    """Like PostgreSQL, which waits after SIGTERM and ends after SIGINT."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    start(group, Program("one", [sys.executable, "-c", code], signal="INT"))
    wait_until(lambda: "up" in group.log("one").read_text() if group.log("one").exists() else False)
    group.stop()
    assert "KeyboardInterrupt" in group.log("one").read_text()


def test_environment_is_not_written_to_files(group: Group) -> None:
    start(group, Program("one", SLEEPER, {"MARK": "x"}))
    wait_until(lambda: group.states()["one"].name == "RUNNING")
    files = [path for path in group.folder.rglob("*") if path.is_file()]
    assert {"supervisord.conf", "one.log"} <= {path.name for path in files}
    assert [path for path in files if CANARY in path.read_text()] == []


def test_killed_program_alone_is_restarted(group: Group) -> None:
    start(group, Program("one", SLEEPER, {"MARK": "1"}), Program("two", SLEEPER, {"MARK": "2"}))
    wait_until(lambda: {state.name for state in group.states().values()} == {"RUNNING"})
    before = group.states()
    os.kill(before["one"].pid, signal.SIGKILL)
    wait_until(lambda: group.states()["one"].name == "RUNNING" and group.states()["one"].pid != before["one"].pid)
    assert group.states()["two"] == before["two"]


def test_program_that_runs_once_can_be_run_again(group: Group, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    count = [sys.executable, "-c", f"open({str(counter)!r}, 'a').write('x')"]
    start(group, Program("count", count, once=True))
    wait_until(lambda: group.states()["count"].done)
    group.launch("count")
    wait_until(lambda: counter.read_text() == "xx")


def test_failed_program_is_not_done(group: Group) -> None:
    start(group, Program("bad", [sys.executable, "-c", "raise SystemExit('no such recipe')"], once=True))
    wait_until(lambda: "no such recipe" in (group.log("bad").read_text() if group.log("bad").exists() else ""))
    assert not group.states()["bad"].done


def test_group_without_its_socket_is_found_and_ends(
    group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(group, Program("one", SLEEPER, {"MARK": "x"}))
    wait_until(lambda: group.states()["one"].name == "RUNNING")
    process = psutil.Process(group.states()["one"].pid)
    short_path(group.folder, ".sock", NAME_BYTES).unlink()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = Group(group.folder)
    assert found.running and not found.answers
    found.stop()
    assert not found.running
    wait_until(lambda: not process.is_running())


def test_reused_pid_is_not_a_running_group(group: Group) -> None:
    group.folder.mkdir()
    (group.folder / "supervisord.pid").write_text(str(os.getpid()))
    assert not group.running


def test_groups_of_two_folders_are_separate(tmp_path: Path, group: Group) -> None:
    start(group, Program("one", SLEEPER, {"MARK": "1"}))
    assert not Group(tmp_path / "elsewhere").running
    assert Group(tmp_path / "services").running
