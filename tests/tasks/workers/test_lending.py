"""Actors are lent one at a time, the last used first, until the release ends; work that waits gets one more."""

import threading
from itertools import count

import pytest

from tasks.workers.failures import EndedError
from tasks.workers.lending import Lending

NEVER = 600.0


def numbered(limit: int, patience: float = NEVER) -> Lending[int]:
    """Return a pool of the numbers from 0, in the order in which they are started."""
    return Lending(count().__next__, limit, patience)


def test_last_returned_actor_is_lent_first() -> None:
    lending = numbered(3, patience=0)
    with lending.one() as first, lending.one() as second:
        assert (first, second) == (0, 1)
    for _ in range(3):
        with lending.one() as again:
            assert again == first, "the others rest, and no third one is started"


def test_no_actor_is_started_for_work_that_can_wait() -> None:
    lending, lent = numbered(2), []

    def work() -> None:
        with lending.one() as actor:
            lent.append(actor)

    with lending.one():
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert lent == [0, 0, 0]


def test_work_that_has_waited_gets_an_actor_of_its_own() -> None:
    lending = numbered(2, patience=0.01)
    with lending.one() as first, lending.one() as second:
        assert (first, second) == (0, 1)


def test_actor_is_lent_to_one_step_at_a_time() -> None:
    lending, lent, came = numbered(1, patience=0), [], threading.Event()

    def wait() -> None:
        with lending.one() as actor:
            lent.append(actor)
            came.set()

    with lending.one():
        thread = threading.Thread(target=wait)
        thread.start()
        assert not came.wait(0.1)
    assert came.wait(60) and lent == [0]
    thread.join()


def test_actor_that_did_not_start_is_started_again() -> None:
    answers = iter([OSError("no memory"), "actor"])

    def start() -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    lending = Lending(start, 1)
    with pytest.raises(OSError, match="no memory"), lending.one():
        raise AssertionError("nothing was started")
    with lending.one() as actor:
        assert actor == "actor"


@pytest.mark.parametrize(
    "patience", [0, NEVER], ids=["waiting for the last actor", "waiting before another is started"]
)
def test_end_wakes_all_waiting_and_refuses_later_ones(patience: float) -> None:
    lending, ended = numbered(1 if patience == 0 else 2, patience), []

    def wait() -> None:
        with pytest.raises(EndedError), lending.one():
            raise AssertionError("nothing is lent any more")
        ended.append("ended")

    with lending.one():
        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        lending.end()
        for thread in threads:
            thread.join()
    assert ended == ["ended"] * 3
    with pytest.raises(EndedError), lending.one():
        raise AssertionError("nor when what was lent has come back")
