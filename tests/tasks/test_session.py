"""In which turn a flow submits its steps while other flows make what they read."""

import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from tasks import session
from tasks.session import Session
from tasks.workers.failures import EndedError

MAKE = "tiny_release:make_soup"
CORPUS = Step("corpus", "theirs", 1, {}, {}, MAKE)
MIX = Step("mix", "ours", 1, {}, {"corpus": CORPUS}, MAKE)
RUN = Step("run", "ours", 1, {}, {"mix": MIX}, MAKE)
TASK = Step("task", "alone", 1, {}, {}, MAKE)


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(session, "POLL_SECONDS", 0.01)
    nothing: Any = None
    return Session(nothing, nothing, Store(tmp_path), nothing)


def test_what_is_awaited_of_another_flow_holds_back_all_that_rests_on_it(opened: Session) -> None:
    with opened.expect([CORPUS, MIX, RUN]):
        turns = opened.in_turn([MIX, RUN, TASK])
        assert next(turns) is TASK
        make(CORPUS, opened.store)
        assert list(turns) == [MIX, RUN]


def test_what_many_steps_wait_for_is_looked_up_once_a_turn(opened: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the results of a checkpoint, one a task, of which OLMo 2 1B has 20,000."""
    peek, looked = opened.store.peek, []
    monkeypatch.setattr(opened.store, "peek", lambda step: looked.append(step) or peek(step))
    results = [Step("result", f"r{number}", 1, {"number": number}, {"model": CORPUS}, MAKE) for number in range(9)]
    with opened.expect([CORPUS]):
        turns = opened.in_turn([TASK, *results])
        assert next(turns) is TASK
        make(CORPUS, opened.store)
        looked.clear()
        assert list(turns) == results
    assert looked == [CORPUS]


def test_what_another_flow_will_not_make_any_more_is_not_awaited(opened: Session) -> None:
    expected = opened.expect([CORPUS])
    expected.__enter__()
    turns = opened.in_turn([TASK, MIX])
    assert next(turns) is TASK
    expected.__exit__(None, None, None)
    assert list(turns) == [MIX]


def test_steps_of_a_flow_that_runs_alone_come_in_their_order(opened: Session) -> None:
    assert list(opened.in_turn([MIX, RUN, TASK])) == [MIX, RUN, TASK]


def test_a_pause_is_shown_while_it_lasts(opened: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seen = iter([0.0, 0.0, 40.0, 120.0]), []
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: next(clock), time=lambda: 0.0))
    monkeypatch.setattr(opened._changed, "wait", lambda _: seen.append(opened.reports()["publish main"]))
    opened.pause("publish main", 120.0)
    assert [(each.done, each.total) for each in seen] == [(0.0, 120.0), (40.0, 120.0)]
    assert "pause the Hub asks for" in seen[0].unit
    assert opened.reports() == {}


def test_a_pause_is_over_when_the_release_ends(opened: Session) -> None:
    opened.end()
    opened.pause("publish main", 1e9)
    assert opened.reports() == {}


def test_workers_that_did_not_start_are_started_again(opened: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("no cluster")

    monkeypatch.setattr(session, "Pool", fail)
    opened.profile = SimpleNamespace()  # type: ignore[assignment]
    with pytest.raises(ConnectionError):
        _ = opened.workers
    monkeypatch.setattr(session, "Pool", lambda *_: "workers")
    assert opened.workers == "workers"  # type: ignore[comparison-overlap]


def test_a_release_that_ends_begins_nothing_more(opened: Session) -> None:
    turns = opened.in_turn([MIX, RUN, TASK])
    assert next(turns) is MIX
    opened.made.append(MIX.label)
    opened.saved.append("run/ours is saved at step 7")
    opened.end()
    assert list(turns) == []
    assert list(opened.in_turn([TASK])) == []
    with pytest.raises(EndedError):
        opened.reporter(TASK)(1, 2, "bytes")
    with pytest.raises(EndedError):
        _ = opened.workers
    assert opened.kept() == "1 finished step is kept; run/ours is saved at step 7"


def test_waiting_for_another_flow_is_over_when_the_release_ends(opened: Session) -> None:
    with opened.expect([CORPUS]):
        turns = opened.in_turn([TASK, MIX])
        assert next(turns) is TASK
        opened.end()
        assert list(turns) == []


def test_the_cluster_is_let_go_only_when_training_has_said_what_it_saved(opened: Session) -> None:
    done: list[str] = []

    def saved() -> list[str]:
        closing.start()
        closing.join(0.2)  # as long as a close that does not wait would take
        done.append("saved")
        return ["run/ours is saved at step 7"]

    workers: Any = SimpleNamespace(end=lambda: done.append("end"), saved=saved, stop=lambda: done.append("stop"))
    opened.outbox = SimpleNamespace(close=lambda: None)  # type: ignore[assignment]
    opened._workers = Future()
    opened._workers.set_result(workers)
    closing = threading.Thread(target=opened.close)
    opened.end()
    closing.join()
    assert done == ["end", "saved", "stop"]
    assert opened.saved == ["run/ours is saved at step 7"]
