"""How progress is displayed: live on a terminal, as lines in a log, without a line lost or printed twice."""

import io
import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from flows.cli import progress
from flows.cli.progress import LINE_SECONDS, Watch, waiting
from tasks.workers.progress import Report

LIMIT_SECONDS = 30.0  # until a test that waits for a thread gives up
UP, CLEAR = "\x1b[1A", "\x1b[2K"  # move the cursor to the line above, clear the line


def console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def text(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


class Session:
    """A session whose reports are given; `looked` is set once they were asked for often enough."""

    def __init__(self, reports: Mapping[str, Report] | None = None, looks: int = 3) -> None:
        self.made: list[str] = []
        self.looked = threading.Event()
        self._reports, self._looks = reports, looks

    def reports(self) -> Mapping[str, Report]:
        self._looks -= 1
        if self._looks <= 0:
            self.looked.set()
        if self._reports is None:
            raise ConnectionError("the cluster is starting")
        return self._reports


def watch(out: Console, session: Session) -> Watch:
    return Watch(out, cast(Any, session))


def report(done: float, at: float = 0.0) -> Report:
    return Report(done, 100, "documents", {}, at)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a clock that stands still: `now` is its time in seconds."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_made_steps_are_printed_once_in_order() -> None:
    out, session = console(), Session()
    shown = watch(out, session)
    session.made += ["corpus/wisdom", "tokens/wisdom-00000"]
    shown._print_made()
    shown._print_made()
    session.made.append("mix/stage1")
    shown._print_made()
    assert text(out) == "made corpus/wisdom\nmade tokens/wisdom-00000\nmade mix/stage1\n"


def test_step_has_a_line_after_every_interval_but_not_at_once(clock: SimpleNamespace) -> None:
    out = console()
    shown = watch(out, Session())
    for passed in (0.0, LINE_SECONDS - 1, LINE_SECONDS, LINE_SECONDS + 1, 2 * LINE_SECONDS - 1, 2 * LINE_SECONDS):
        clock.now = 1000.0 + passed
        shown._print_lines({"corpus/wisdom": report(passed)})
    assert text(out).splitlines() == [
        f"corpus/wisdom: {done:.0f} of 100 documents" for done in (LINE_SECONDS, 2 * LINE_SECONDS)
    ]


def test_each_step_has_an_interval_of_its_own(clock: SimpleNamespace) -> None:
    out = console()
    shown = watch(out, Session())
    shown._print_lines({"a": report(1)})
    clock.now += LINE_SECONDS - 1
    shown._print_lines({"a": report(1), "b": report(2)})
    clock.now += 1
    shown._print_lines({"a": report(3), "b": report(4)})
    assert text(out) == "a: 3 of 100 documents\n"


def test_cluster_that_does_not_answer_has_no_reports() -> None:
    assert watch(console(), Session(None))._reports() == {}


@pytest.mark.parametrize("terminal", [False, True])
def test_steps_made_until_the_end_are_printed(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.001)
    out, session = console(terminal), Session({"run/stage1": report(50)})
    with watch(out, session):
        assert session.looked.wait(LIMIT_SECONDS)
        session.made += ["mix/stage1", "run/stage1"]
    shown = text(out)
    assert [shown.count(f"made {label}") for label in session.made] == [1, 1]
    assert ("run/stage1: 50 of 100 documents" in shown) == terminal, "in a log there is a line every few seconds"


def test_display_survives_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.001)
    session = Session(None)
    with watch(console(True), session) as shown:
        assert session.looked.wait(LIMIT_SECONDS)
        assert shown._thread.is_alive()


def test_finished_step_leaves_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.001)
    out = console(True)

    class Ending(Session):
        def reports(self) -> Mapping[str, Report]:
            super().reports()
            return {"b": report(2)} if self.looked.is_set() else {"a": report(1)}

    session = Ending(looks=5, reports={})
    removed = threading.Event()
    remove = progress.Progress.remove_task
    monkeypatch.setattr(progress.Progress, "remove_task", lambda *given: (remove(*given), removed.set()))
    with watch(out, session):
        assert removed.wait(LIMIT_SECONDS)
    last = text(out).rpartition("a: 1 of 100")[2]
    assert "a: " not in last


@pytest.mark.parametrize("loss", [{}, {"loss": 2.5}])
def test_report_without_progress_has_no_rate(loss: dict[str, float]) -> None:
    shown = watch(console(), Session())
    assert shown._text("a", Report(0, 100, "tokens", loss, 5.0)) == "0 of 100 tokens" + (", loss 2.500" if loss else "")


def test_clock_that_goes_back_gives_no_rate() -> None:
    shown = watch(console(), Session())
    shown._text("a", report(10, at=50.0))
    assert shown._text("a", report(20, at=40.0)) == "20 of 100 documents"


def test_wait_in_a_log_is_a_line_without_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.patience.LINE_SECONDS", 0.0)
    out = console()
    with waiting(out) as show:
        show("waiting for [mlflow], 5 s")
    assert text(out) == "waiting for [mlflow], 5 s\n"


def test_wait_on_a_terminal_is_a_live_line() -> None:
    out = console(True)
    with waiting(out) as show:
        show("waiting for mlflow, 5 s")
    assert "waiting for mlflow, 5 s" in text(out)
    assert text(out).endswith(f"{UP}{CLEAR}"), "it is removed, not left as a line"
