"""The sender as a process: how it is started, woken and ended, and what its command refuses."""

import fcntl
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks.tracking import sender as sender_module
from tasks.tracking.events import EventLog
from tasks.tracking.queue import EventQueue
from tasks.tracking.sender import Handle, Sender, hide_credentials, main, start_sender


@pytest.mark.parametrize(
    ("arguments", "address", "message"),
    [
        (
            [],
            None,
            "MLFLOW_TRACKING_URI is not set; set it to the address of MLflow, such as sqlite:////path/mlflow.db",
        ),
        ([], "", "MLFLOW_TRACKING_URI is not set"),
        (["--rebuild", "/store"], "sqlite:///x.db", "--rebuild and --recipe must be given together"),
        (["--recipe", "tiny"], "sqlite:///x.db", "--rebuild and --recipe must be given together"),
    ],
)
def test_command_names_what_is_missing(
    arguments: list[str],
    address: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if address is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(SystemExit) as refused:
        main(["--outbox", str(tmp_path), *arguments])
    assert refused.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_address_is_passed_in_the_environment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every user of a machine can read a command line."""
    started: dict[str, Any] = {}

    def popen(command: list[str], **options: Any) -> Any:
        started.update(options, command=command)
        options["stdout"].write(b"a message\n")
        return SimpleNamespace()

    monkeypatch.setattr(sender_module.subprocess, "Popen", popen)
    address = "https://olmo:secret@mlflow.example"
    start_sender(tmp_path / "new" / "outbox", address)
    assert started["command"] == [
        *(sys.executable, "-m", "tasks.tracking.sender"),
        *("--outbox", str(tmp_path / "new" / "outbox")),
    ]
    assert started["env"] == {**os.environ, "MLFLOW_TRACKING_URI": address}
    assert started["start_new_session"], "Ctrl-C is not for this process"
    assert (tmp_path / "new" / "outbox" / "shipper.log").read_text() == "a message\n"


class Process:
    """A process that ends at its input's end, or only when it is killed."""

    def __init__(self, stubborn: bool) -> None:
        self.stubborn, self.calls = stubborn, list[str]()
        self.stdin = SimpleNamespace(close=lambda: self.calls.append("close"))

    def wait(self, timeout: float | None = None) -> None:
        self.calls.append(f"wait {timeout}")
        if self.stubborn and timeout is not None:
            raise subprocess.TimeoutExpired("sender", timeout)

    def kill(self) -> None:
        self.calls.append("kill")


@pytest.mark.parametrize(
    ("stubborn", "calls"), [(False, ["close", "wait 1.0"]), (True, ["close", "wait 1.0", "kill", "wait None"])]
)
def test_process_is_killed_only_after_the_deadline(stubborn: bool, calls: list[str], tmp_path: Path) -> None:
    process = Process(stubborn)
    Handle(cast(Any, process), EventQueue(tmp_path, "a")).stop(1.0)
    assert process.calls == calls


def test_dead_process_can_be_woken(tmp_path: Path) -> None:
    """It has ended by itself, which `drain` finds out at its next look."""
    reading, writing = os.pipe()
    os.close(reading)
    process = SimpleNamespace(stdin=SimpleNamespace(fileno=lambda: writing), poll=lambda: 1)
    handle = Handle(cast(Any, process), cast(Any, SimpleNamespace(left=lambda: 3)))
    handle._wake()
    assert handle.drain(60.0) == 3
    os.close(writing)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[EventLog]:
    with EventLog(tmp_path, "tiny", "r1") as outbox:
        yield outbox


def test_reasons_of_refused_events_name_their_file(outbox: EventLog, tmp_path: Path) -> None:
    outbox.failed("no disk")
    queue = EventQueue(tmp_path, "a")
    (item,) = queue.read()
    queue.refuse(item, "ValueError: step -1")
    handle = Handle(cast(Any, SimpleNamespace()), queue)
    assert handle.refused() == [f"{item.file}: ValueError: step -1"]
    assert handle.trouble() == ""
    queue.note("not reached")
    assert handle.trouble() == "not reached"


class Exit(BaseException):
    """Stands for the end of the process."""


class Input:
    """The standard input of a sender: bytes to wake it, and its end. Time passes only in `sleep`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wakes: int, left: list[int]) -> None:
        self.slept: list[float] = []
        self.woken = 0
        reads = iter([b"\n"] * wakes + [b""])
        monkeypatch.setattr(sender_module.os, "read", lambda *_: next(reads))
        monkeypatch.setattr(sender_module, "time", SimpleNamespace(sleep=self.slept.append))
        monkeypatch.setattr(sender_module.os, "_exit", self._exit)
        rest = iter(left)
        self.queue = SimpleNamespace(left=lambda: next(rest))

    def _exit(self, code: int) -> None:
        raise Exit(code)

    def watch(self) -> Sender:
        sender = Sender(cast(Any, self.queue), cast(Any, None), str)
        wake = sender._wake.set
        sender._wake.set = lambda: (wake(), setattr(self, "woken", self.woken + 1))[0]  # type: ignore[method-assign]
        with pytest.raises(Exit, match="1"):
            sender.watch(0)
        return sender


@pytest.mark.parametrize(("left", "waits"), [([5, 5], 1), ([5, 4, 3, 3], 3), ([5, 0, 0], 2), ([0, 0], 1), ([5, 6], 1)])
def test_ending_process_stays_as_long_as_it_sends_events(
    left: list[int], waits: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that hangs must not keep it alive."""
    given = Input(monkeypatch, 0, left)
    sender = given.watch()
    assert given.slept == [sender_module.GRACE_SECONDS] * waits
    assert sender._ending.is_set()
    assert [record.getMessage() for record in caplog.records] == [f"{left[-1]} events remain for the next sender"]


def test_every_byte_wakes_the_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Input(monkeypatch, 3, [0, 0])
    given.watch()
    assert given.woken == 3 + 1, "and the end does"


def test_outbox_that_cannot_be_read_is_tried_again(
    outbox: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.finished()
    queue = EventQueue(tmp_path, "a")
    read, failures = queue.read, [OSError(5, "Input/output error")]

    def flaky() -> Any:
        if failures:
            raise failures.pop()
        return read()

    monkeypatch.setattr(queue, "read", flaky)
    written: list[Any] = []
    writer = SimpleNamespace(write=written.append)
    sender = Sender(queue, cast(Any, lambda: writer), str)
    sender.end()
    with caplog.at_level(logging.WARNING):
        sender.run()
    assert [event["event"] for event in written] == ["finished"]
    assert "the outbox cannot be used: [Errno 5] Input/output error" in caplog.text


def test_positions_that_cannot_be_stored_send_an_event_again(
    outbox: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice does no harm; not at all would."""
    outbox.finished()
    queue = EventQueue(tmp_path, "a")
    done, failures = queue.done, [OSError(28, "No space left on device")]

    def full(item: Any) -> None:
        if failures:
            raise failures.pop()
        done(item)

    monkeypatch.setattr(queue, "done", full)
    written: list[Any] = []
    sender = Sender(queue, cast(Any, lambda: SimpleNamespace(write=written.append)), str)
    sender.end()
    sender.run()
    assert [event["event"] for event in written] == ["finished", "finished"]
    assert (queue.left(), list(queue.refused())) == (0, [])


@pytest.mark.parametrize(
    ("uri", "message", "shown"),
    [
        (
            "https://olmo:secret@host",
            "401 for olmo:secret at https://olmo:secret@host",
            "401 for *** at https://***@host",
        ),
        ("https://token@host", "token is not valid", "*** is not valid"),
        ("https://olmo:a%2Fb@host", "tried a/b and a%2Fb", "tried *** and ***"),
        ("https://host/path", "cannot reach https://host/path", "cannot reach https://host/path"),
        ("https://host/a:b@c", "a:b@c", "a:b@c"),
    ],
)
def test_user_and_password_of_an_address_are_hidden(uri: str, message: str, shown: str) -> None:
    assert hide_credentials(uri)(message) == shown


def test_only_one_sender_of_an_address_reads_the_outbox(tmp_path: Path) -> None:
    with EventQueue(tmp_path, "a").only_reader():
        (own,) = tmp_path.glob("shipper-*.lock")
        with EventQueue(tmp_path, "b").only_reader(), own.open("a") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert len(list(tmp_path.glob("shipper-*.lock"))) == 2, "another address has a lock of its own"
    with own.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
