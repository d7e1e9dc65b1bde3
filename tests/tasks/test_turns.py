"""When a flow may submit its steps while other flows make what they read."""

import threading
from pathlib import Path

import pytest
from tiny_release import make_soup

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from tasks import turns
from tasks.turns import Turns

CORPUS = Step("corpus", "theirs", 1, {}, {}, make_soup)
MIX = Step("mix", "ours", 1, {}, {"corpus": CORPUS}, make_soup)
RUN = Step("run", "ours", 1, {}, {"mix": MIX}, make_soup)
TASK = Step("task", "alone", 1, {}, {}, make_soup)


@pytest.fixture
def ended() -> threading.Event:
    return threading.Event()


@pytest.fixture
def taken(tmp_path: Path, ended: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Turns:
    monkeypatch.setattr(turns, "POLL_SECONDS", 0.01)
    return Turns(Store(tmp_path), ended)


def test_what_another_flow_is_to_make_holds_back_all_that_follows_from_it(taken: Turns, tmp_path: Path) -> None:
    with taken.expect([CORPUS, MIX, RUN]):
        steps = taken.of([MIX, RUN, TASK])
        assert next(steps) is TASK
        make(CORPUS, Store(tmp_path))
        assert list(steps) == [MIX, RUN]


def test_what_many_steps_wait_for_is_looked_up_once_a_round(
    taken: Turns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a checkpoint, which has a result for every task: OLMo 2 1B has 20,000 of them."""
    looked: list[str] = []
    record = Store.record
    monkeypatch.setattr(Store, "record", lambda self, folder: looked.append(folder) or record(self, folder))
    results = [Step("result", f"r{number}", 1, {"number": number}, {"model": CORPUS}, make_soup) for number in range(9)]
    with taken.expect([CORPUS]):
        steps = taken.of([TASK, *results])
        assert next(steps) is TASK
        make(CORPUS, Store(tmp_path))
        looked.clear()
        assert list(steps) == results
    assert looked == [CORPUS.folder]


def test_what_another_flow_will_not_make_any_more_is_not_awaited(taken: Turns) -> None:
    expected = taken.expect([CORPUS])
    expected.__enter__()
    steps = taken.of([TASK, MIX])
    assert next(steps) is TASK
    expected.__exit__(None, None, None)
    assert list(steps) == [MIX]


def test_steps_of_a_flow_that_runs_alone_come_in_their_order(taken: Turns) -> None:
    assert list(taken.of([MIX, RUN, TASK])) == [MIX, RUN, TASK]


def test_no_step_comes_after_the_release_was_asked_to_end(taken: Turns, ended: threading.Event) -> None:
    steps = taken.of([MIX, RUN, TASK])
    assert next(steps) is MIX
    ended.set()
    assert list(steps) == []
    assert list(taken.of([TASK])) == []


def test_waiting_for_another_flow_is_over_when_the_release_ends(taken: Turns, ended: threading.Event) -> None:
    with taken.expect([CORPUS]):
        steps = taken.of([TASK, MIX])
        assert next(steps) is TASK
        ended.set()
        assert list(steps) == []


def test_a_look_is_at_once(taken: Turns, ended: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits does not wait until the next look into the store."""
    monkeypatch.setattr(turns, "POLL_SECONDS", 600.0)
    waiting = threading.Event()
    monkeypatch.setattr(taken, "_awaited", lambda *_: waiting.set() or not ended.is_set())
    thread = threading.Thread(target=lambda: list(taken.of([MIX])), daemon=True)
    thread.start()
    assert waiting.wait(60)
    ended.set()
    for _ in range(1000):  # it may not have begun to wait yet
        taken.look()
        thread.join(0.01)
        if not thread.is_alive():
            break
    assert not thread.is_alive()


def test_two_flows_make_a_step_one_after_the_other(taken: Turns) -> None:
    order: list[str] = []

    def second() -> None:
        with taken.making(MIX):
            order.append("second")

    with taken.making(MIX):
        thread = threading.Thread(target=second)
        thread.start()
        with taken.making(TASK):
            order.append("another step")
        thread.join(0.2)  # as long as a flow that does not wait would take
        order.append("first")
    thread.join()
    assert order == ["another step", "first", "second"]
