"""State shared by the tasks of one process: reports, pauses, and the end of the release."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_release import make_soup

from olmo_core.artifact.identity import Step
from olmo_core.artifact.store import Store
from tasks import session
from tasks.session import Session
from tasks.workers.failures import EndedError

MIX = Step("mix", "ours", 1, {}, {}, make_soup)
TASK = Step("task", "alone", 1, {}, {}, make_soup)


@pytest.fixture
def opened(tmp_path: Path) -> Session:
    nothing: Any = None
    return Session(nothing, nothing, Store(tmp_path), nothing, found=2)


def test_pause_is_shown_while_it_lasts(opened: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seen = iter([0.0, 0.0, 40.0, 120.0]), []
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: next(clock), time=lambda: 0.0))
    monkeypatch.setattr(opened._ended, "wait", lambda _: seen.append(opened.reports()["publish main"]))
    opened.pause("publish main", 120.0)
    assert [(each.done, each.total) for each in seen] == [(0.0, 120.0), (40.0, 120.0)]
    assert "pause the Hub asks for" in seen[0].unit
    assert opened.reports() == {}


def test_end_of_release_ends_pause(opened: Session) -> None:
    opened.end()
    opened.pause("publish main", 1e9)
    assert opened.reports() == {}


def test_ended_release_starts_nothing_and_names_kept_work(opened: Session) -> None:
    opened.announce(MIX, reused=False)
    opened._pool.saved.append("run/ours is saved at step 7")
    opened.end()
    assert opened.ended
    assert list(opened.turns.of([TASK])) == []
    with pytest.raises(EndedError):
        opened.reporter(TASK)(1, 2, "bytes")
    with pytest.raises(EndedError):
        _ = opened.workers
    assert opened.kept() == "3 finished steps are kept; run/ours is saved at step 7"
