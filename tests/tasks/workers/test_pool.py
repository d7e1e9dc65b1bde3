"""The pool of a release without a cluster: what is submitted, what an end stops, and what is answered afterwards."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job, Placement
from olmo_core.artifact.make import MissingInputError, make
from olmo_core.artifact.store import Store
from olmo_core.hub.target import Target
from tasks.workers import pool as pool_module
from tasks.workers.energy import Meter
from tasks.workers.failures import EndedError
from tasks.workers.lending import Lending
from tasks.workers.pool import Pool, _make_reporting, _publish_artifact
from tasks.workers.progress import Report


class Actor:
    """A background worker that works in the caller's thread."""

    def __init__(self, name: str, log: list[str]) -> None:
        self._name, self._log = name, log
        self.run = SimpleNamespace(options=self._options)

    def _options(self, name: str) -> Any:
        def remote(work: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
            self._log.append(f"{name} on {self._name}")
            return lambda: work(*arguments)

        return SimpleNamespace(remote=remote)


class Site:
    """A pool whose cluster is written down here: what is cancelled and what the board is asked."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.reports: list[dict[str, Report]] = []
        self.pool = Pool.__new__(Pool)
        self.pool._background = Lending(lambda: Actor("worker", self.log), 1)
        self.pool._lock, self.pool._connection = threading.Lock(), threading.Lock()
        self.pool._going, self.pool._ended, self.pool._connected = set(), False, True
        self.pool.cluster = cast(Any, SimpleNamespace(stop=lambda: self.log.append("cluster stopped")))
        self.pool.board = SimpleNamespace(
            end=SimpleNamespace(remote=lambda: self.log.append("board ended")),
            saved=SimpleNamespace(remote=lambda: lambda: ["run/a is saved at step 3"]),
            reports=SimpleNamespace(remote=lambda: lambda: self.reports.pop(0)),
        )


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    found = Site()

    def cancel(work: Callable[[], Any]) -> None:
        found.log.append(f"cancelled {work()}")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda work, timeout=None: work(), cancel=cancel))
    return found


def test_background_work_is_named_and_its_worker_can_be_lent_again(site: Site) -> None:
    assert site.pool._in_background("evaluation/a", divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        site.pool._in_background("evaluation/b", divmod, 7, 0)
    assert site.pool._in_background("evaluation/c", divmod, 8, 2) == (4, 0)
    assert site.log == [f"evaluation/{each} on worker" for each in "abc"]
    assert site.pool._going == set()


def test_end_cancels_what_goes_on_and_nothing_that_is_done(site: Site) -> None:
    site.pool._result(lambda: lambda: "finished")

    def work() -> str:
        return "going"

    def submit() -> Any:
        return work

    got: list[Any] = []
    begun, ended = threading.Event(), threading.Event()

    def get(found: Callable[[], Any], timeout: float | None = None) -> Any:
        begun.set()
        assert ended.wait(60)
        return found()

    sys.modules["ray"].get = get  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: got.append(site.pool._result(submit)))
    thread.start()
    assert begun.wait(60)
    site.pool.end()
    ended.set()
    thread.join()
    assert site.log == ["board ended", "cancelled going"]
    assert got == ["going"]


def test_no_work_is_submitted_after_the_end(site: Site) -> None:
    site.pool.end()
    with pytest.raises(EndedError):
        site.pool._result(lambda: pytest.fail("work is submitted"))
    with pytest.raises(EndedError):
        site.pool._in_background("evaluation/a", divmod, 7, 2)


def test_saved_is_answered_when_all_work_has_stopped(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    report, pauses = Report(1, 2, "tokens", {}, 0.0), []
    site.reports = [{"run/a": report, "run/b": report}, {"run/b": report}, {}]
    monkeypatch.setattr(pool_module.time, "sleep", pauses.append)
    assert site.pool.saved() == ["run/a is saved at step 3"]
    assert (len(pauses), site.reports) == (2, [])


def test_closed_pool_is_not_asked_and_cancels_nothing(site: Site) -> None:
    site.pool.stop()
    with pytest.raises(EndedError):
        site.pool.reports()
    site.pool.end()
    assert site.log == ["cluster stopped"]


class Pins:
    """A board that notes what a worker reports of its step."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: self.calls.append((name, arguments)))


def written(job: Job) -> dict[str, Any]:
    (job.out / "a.txt").write_text("a")
    job.progress(1, 2, "files")
    job.metrics(4, {"loss": 0.5})
    return {}


def broken(job: Job) -> dict[str, Any]:
    job.metrics(4, {"loss": 0.5})
    raise ValueError("stages.stage1.tokens is too small")


STEP = Step("corpus", "c", 1, work=written)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda found, timeout=None: found))
    return Store(tmp_path / "store")


def test_worker_returns_the_record_and_whether_it_was_there(store: Store) -> None:
    pins = Pins()
    record, reused = _make_reporting(STEP, store, Placement(), pins, Meter(65))
    assert (record, reused) == (store.peek(STEP), False)
    assert record.energy is not None and record.energy["kwh"] >= 0
    assert [name for name, _ in pins.calls] == ["progress", "metrics", "progress", "flush"]
    assert pins.calls[1] == ("metrics", (STEP.id, [(4, {"loss": 0.5})]))
    assert _make_reporting(STEP, store, Placement(), Pins(), Meter(65)) == (record, True)


def test_metrics_of_a_failed_step_are_sent_and_its_progress_is_removed(store: Store) -> None:
    pins, step = Pins(), Step("corpus", "b", 1, work=broken)
    with pytest.raises(ValueError, match=r"stages\.stage1\.tokens"):
        _make_reporting(step, store, Placement(), pins, Meter(65))
    assert [name for name, _ in pins.calls] == ["metrics", "progress", "flush"]
    assert pins.calls[1] == ("progress", ("corpus/b", None))


@pytest.mark.parametrize("missing", ["revision", "checkpoint"])
def test_publishing_names_the_artifact_that_is_missing(missing: str, store: Store) -> None:
    steps = {kind: Step(kind, "stage1-step5", 1, work=written) for kind in ("revision", "checkpoint")}
    for kind, step in steps.items():
        if kind != missing:
            make(step, store)
    target = cast(Target, object())
    with pytest.raises(MissingInputError, match=rf"{missing}/stage1-step5.*{store.root}.*make it first"):
        _publish_artifact(steps["revision"], steps["checkpoint"], store, target)
