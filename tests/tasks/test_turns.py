"""When a flow may submit steps whose inputs other flows make."""

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


def test_steps_wait_for_inputs_of_other_flows(taken: Turns, tmp_path: Path) -> None:
    with taken.expect([CORPUS, MIX, RUN]):
        steps = taken.of([MIX, RUN, TASK])
        assert next(steps) is TASK
        make(CORPUS, Store(tmp_path))
        assert list(steps) == [MIX, RUN]


def test_shared_input_is_read_once_per_round(taken: Turns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint, for example, is an input of one result per task; OLMo 2 1B has 20,000 results."""
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


def test_steps_do_not_wait_for_ended_flow(taken: Turns) -> None:
    expected = taken.expect([CORPUS])
    expected.__enter__()
    steps = taken.of([TASK, MIX])
    assert next(steps) is TASK
    expected.__exit__(None, None, None)
    assert list(steps) == [MIX]


def test_single_flow_yields_steps_in_order(taken: Turns) -> None:
    assert list(taken.of([MIX, RUN, TASK])) == [MIX, RUN, TASK]


def test_ended_release_yields_no_steps(taken: Turns, ended: threading.Event) -> None:
    steps = taken.of([MIX, RUN, TASK])
    assert next(steps) is MIX
    ended.set()
    assert list(steps) == []
    assert list(taken.of([TASK])) == []


def test_end_of_release_ends_waiting(taken: Turns, ended: threading.Event) -> None:
    with taken.expect([CORPUS]):
        steps = taken.of([TASK, MIX])
        assert next(steps) is TASK
        ended.set()
        assert list(steps) == []


def test_look_wakes_waiting_flow_at_once(taken: Turns, ended: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting flow does not wait for the next check of the store."""
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


def test_flows_make_shared_step_one_at_a_time(taken: Turns) -> None:
    order: list[str] = []

    def second() -> None:
        with taken.making(MIX):
            order.append("second")

    with taken.making(MIX):
        thread = threading.Thread(target=second)
        thread.start()
        with taken.making(TASK):
            order.append("another step")
        thread.join(0.2)  # enough time for a flow that does not wait
        order.append("first")
    thread.join()
    assert order == ["another step", "first", "second"]
