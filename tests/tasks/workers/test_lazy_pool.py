"""The pool of a release: started when it is needed, started again when it failed, let go once."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.workers.failures import EndedError
from tasks.workers.lazy_pool import LazyPool


@pytest.fixture
def ended() -> threading.Event:
    return threading.Event()


def test_a_cluster_that_did_not_start_is_started_again(ended: threading.Event) -> None:
    pool: Any = object()
    answers = iter([ConnectionError("no cluster"), pool])

    def connect() -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    lazy = LazyPool(connect, ended)
    with pytest.raises(ConnectionError):
        lazy.get()
    assert lazy.started() is None
    assert lazy.get() is lazy.get() is lazy.started() is pool


def test_none_is_started_after_the_release_was_asked_to_end(ended: threading.Event) -> None:
    def connect() -> Any:
        raise AssertionError("a cluster is started")

    lazy = LazyPool(connect, ended)
    ended.set()
    with pytest.raises(EndedError):
        lazy.get()
    assert lazy._pool is None
    lazy.close()


def test_whoever_waits_for_a_cluster_stops_waiting_when_the_release_ends(ended: threading.Event) -> None:
    begins, closed = threading.Event(), threading.Event()

    def connect() -> Any:
        begins.set()
        waited.append(closed.wait(10))

    def end() -> None:
        assert begins.wait(60)
        ended.set()

    waited: list[bool] = []
    lazy = LazyPool(connect, ended)
    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(EndedError):
        lazy.get()
    lazy.close()
    closed.set()
    thread.join()
    lazy._thread.shutdown()
    assert waited == [True], "the release was closed while the cluster was starting"


def test_the_cluster_is_let_go_only_when_training_has_said_what_it_saved(ended: threading.Event) -> None:
    done: list[str] = []

    def saved() -> list[str]:
        closing.start()
        closing.join(0.2)  # as long as a close that does not wait would take
        done.append("saved")
        return ["run/ours is saved at step 7"]

    pool: Any = SimpleNamespace(end=lambda: done.append("end"), saved=saved, stop=lambda: done.append("stop"))
    lazy = LazyPool(lambda: pool, ended)
    lazy.get()
    closing = threading.Thread(target=lazy.close)
    ended.set()
    lazy.end()
    closing.join()
    assert done == ["end", "saved", "stop"]
    assert lazy.saved == ["run/ours is saved at step 7"]
