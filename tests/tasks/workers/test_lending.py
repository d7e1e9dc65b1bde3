"""Actors are lent one at a time, the last used first, until the release ends."""

import threading

import pytest

from tasks.workers.failures import EndedError
from tasks.workers.lending import Lending


def test_last_returned_actor_is_lent_first() -> None:
    lending = Lending(["a", "b", "c"])
    with lending.one() as first, lending.one() as second:
        assert {first, second} == {"c", "b"}
    for _ in range(3):
        with lending.one() as again:
            assert again == first, "the others rest"


def test_actor_is_lent_to_one_step_at_a_time() -> None:
    lending, lent, came = Lending(["a"]), [], threading.Event()

    def wait() -> None:
        with lending.one() as actor:
            lent.append(actor)
            came.set()

    with lending.one():
        thread = threading.Thread(target=wait)
        thread.start()
        assert not came.wait(0.1)
    assert came.wait(60) and lent == ["a"]
    thread.join()


def test_end_wakes_all_waiting_and_refuses_later_ones() -> None:
    lending, ended = Lending(["a"]), []

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
