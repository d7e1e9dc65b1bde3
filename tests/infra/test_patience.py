"""Waits, with a clock that the test advances."""

import os
from pathlib import Path

from infra.patience import LINE_SECONDS, STALLED_SECONDS, Lines, Patience, work_of


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_wait_lasts_while_there_is_progress() -> None:
    clock, shown = Clock(), list[str]()
    patience = Patience(shown.append, clock)
    for minute in range(600):
        clock.now = minute * 60.0
        assert patience.lasts("a slow machine", lambda: clock.now)
    assert shown[-1] == "waiting for a slow machine, 35940 s"
    clock.now += STALLED_SECONDS
    assert patience.lasts("a slow machine", lambda: "done"), "that was progress"


def test_wait_ends_without_progress() -> None:
    clock = Clock()
    patience = Patience(lambda _: None, clock)
    assert patience.lasts("a server", lambda: "the same")
    clock.now = STALLED_SECONDS - 1
    assert patience.lasts("a server", lambda: "the same")
    clock.now = STALLED_SECONDS
    assert not patience.lasts("a server", lambda: "the same")


def test_log_gets_a_line_every_few_seconds() -> None:
    clock, written = Clock(), list[str]()
    lines = Lines(written.append, clock)
    for second in range(int(3 * LINE_SECONDS) + 1):
        clock.now = second
        lines(f"{second} s")
    assert written == ["5 s", "10 s", "15 s"]


def test_work_is_measured_by_log_and_cpu_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = work_of(os.getpid(), log)
    log.write_text("a line")
    after = work_of(os.getpid(), log)
    assert before[0] > 0 and (before[1], after[1]) == (0, 6)
