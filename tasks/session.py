"""The session of a release: its plan, store, workers and outbox, shared by every flow and task of one process.

Flows and tasks pass only labels and ids to each other; what these stand for is looked up here. Ray is started when the
first step has to be made, so a release that is all there never pays for it.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Progress
from olmo_core.artifact.store import Store
from olmo_core.hub.cache import LocalCache
from olmo_core.hub.publication import Publication, shown
from olmo_core.hub.target import RevisionFiles, Target
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.profile import Profile
from olmo_core.recipe.recipe import Recipe
from tasks.tracking.events import EventLog
from tasks.workers.failures import EndedError
from tasks.workers.pool import Pool
from tasks.workers.progress import Report


@dataclass
class Session:
    """What a release works with.

    Attributes:
        made: labels of the steps that were made.
        reused: labels of the steps that were there.
        saved: what training runs say that were asked to stop.
        found: how many steps were there at the start.
        ended: whether the release was asked to end.
    """

    plan: Plan
    profile: Profile
    store: Store
    outbox: EventLog
    made: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # What a person should read at the end.
    saved: list[str] = field(default_factory=list)
    found: int = 0
    ended: bool = False
    _workers: "Future[Pool] | None" = None
    # Ray's processes die with the thread that started them, so that thread lives as long as the session.
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "cluster"))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ending: threading.Lock = field(default_factory=threading.Lock)
    _steps: dict[str, threading.Lock] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _expected: set[str] = field(default_factory=set)
    _own: dict[str, Report] = field(default_factory=dict)

    @property
    def workers(self) -> Pool:
        """The cluster, connected or started on first use.

        Raises:
            EndedError: the release was asked to end.
        """
        starting = self.start_workers()
        self.check_ended()
        while not wait([starting], POLL_SECONDS).done:
            self.check_ended()
        return starting.result()

    def start_workers(self) -> "Future[Pool]":
        """Begin to connect to the cluster or to start it, if that has not begun yet or has failed."""
        with self._lock:
            if self._workers is None or (self._workers.done() and self._started_workers() is None):
                self._workers = self._thread.submit(Pool, self.profile, self.store, self.outbox)
            return self._workers

    @property
    def target(self) -> Target:
        """Where revisions are published."""
        return target_of(self.profile, self.plan.recipe)

    def publish(self, revision: Step, native: Step) -> Publication:
        """Publish the artifact of a revision, unless the target shows these very files already."""
        artifact = self.store.find(revision)
        if artifact is not None and (there := shown(RevisionFiles.of(artifact), self.target)) is not None:
            return there
        return self.workers.publish(revision, native, self.target)

    @contextmanager
    def expect(self, steps: Iterable[Step]) -> Iterator[None]:
        """While the block runs, other flows may wait for these steps to appear in the store."""
        ids = {step.id for step in steps}
        with self._changed:
            self._expected |= ids
        try:
            yield
        finally:
            with self._changed:
                self._expected -= ids
                self._changed.notify_all()

    def in_turn(self, steps: Sequence[Step]) -> Iterator[Step]:
        """Yield steps, inputs first, each as soon as nothing more is awaited of other flows for it.

        So a task is submitted when it can begin, and no dashboard shows one as running that only waits. None comes when
        the release was asked to end.
        """
        own = {step.id for step in steps}
        left = list(steps)
        while left:
            waiting: set[str] = set()
            there: dict[str, bool] = {}
            for step in left:
                if self.ended:
                    return
                if any(self._awaited(source, own, waiting, there) for source in step.inputs.values()):
                    waiting.add(step.id)
                else:
                    yield step
            left = [step for step in left if step.id in waiting]
            if left:
                with self._changed:
                    self._changed.wait(POLL_SECONDS)

    def _awaited(self, source: Step, own: set[str], waiting: set[str], there: dict[str, bool]) -> bool:
        """Whether an input has not been submitted here, or is expected of another flow and not there yet.

        `there` holds what the store has, looked up once for all that read it: every result of a model reads the model.
        """
        if source.id in own:
            return source.id in waiting
        if source.id not in self._expected:
            return False
        if source.id not in there:
            there[source.id] = self.store.peek(source) is not None
        return not there[source.id]

    @contextmanager
    def making(self, step: Step) -> Iterator[None]:
        """Hold a step within this process, so that flows which share it make it once and fill no worker by waiting."""
        with self._lock:
            lock = self._steps.setdefault(step.id, threading.Lock())
        with lock:
            yield

    def announce(self, step: Step, reused: bool) -> None:
        """Note what became of a step and wake those who wait for it."""
        (self.reused if reused else self.made).append(step.label)
        with self._changed:
            self._changed.notify_all()

    def reporter(self, step: Step) -> Progress:
        """Return where a step made in this process reports how far it is."""

        def report(done: float, total: float, unit: str, **shown: float) -> None:
            self.check_ended()
            self._own[step.label] = Report(done, total, unit, shown, time.time())

        return report

    def pause(self, label: str, seconds: float) -> None:
        """Wait as long as a Hub asks; the progress shows it under `label`."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds and not self.ended:
            self._own[label] = Report(passed, seconds, "s of the pause the Hub asks for", {}, time.time())
            with self._changed:
                self._changed.wait(min(POLL_SECONDS, seconds - passed))
        self._own.pop(label, None)

    def reports(self) -> dict[str, Report]:
        """Return how far every step is that goes on, here or on the cluster."""
        workers = self._started_workers()
        cluster = workers.reports() if workers is not None else {}
        return {**{label: each for label, each in self._own.items() if each.done < each.total}, **cluster}

    def end(self) -> None:
        """Begin nothing more, and stop what goes on: training saves, all else is abandoned; returns when it has."""
        with self._ending:
            with self._changed:
                self.ended = True
                self._changed.notify_all()
            if (workers := self._started_workers()) is not None:
                workers.end()
                self.saved = workers.saved()

    def check_ended(self) -> None:
        """Raise EndedError where the release was asked to end."""
        if self.ended:
            raise EndedError

    def kept(self) -> str:
        """Return what of the release is kept if it ends now."""
        count = self.found + len(self.made)
        return "; ".join([f"{count} finished {'step is' if count == 1 else 'steps are'} kept", *sorted(self.saved)])

    def close(self) -> None:
        """Let go of the cluster and the outbox; a cluster that starts while the release ends is not waited for."""
        self.outbox.close()
        if self._workers is not None and not self.ended:
            wait([self._workers])
        with self._ending:  # which hears from training what it saved
            if (workers := self._started_workers()) is not None:
                workers.stop()
        self._thread.shutdown(wait=not self.ended)

    def _started_workers(self) -> Pool | None:
        """Return the cluster where it has been connected to or started."""
        starting = self._workers
        if starting is None or not starting.done() or starting.exception() is not None:
            return None
        return starting.result()


def target_of(profile: Profile, recipe: Recipe) -> Target:
    """Return where a profile publishes the revisions of a recipe: a local folder of the Hub cache layout, or a Hub."""
    repo = profile.hub.repo or recipe.release.card.repo
    if profile.hub.endpoint is not None:
        from olmo_core.hub.endpoint import HubEndpoint  # with the Hub's client, 0.2 s that a local folder does not need

        public, scratch = recipe.release.card.public, profile.folder / "scratch"
        return HubEndpoint(repo, profile.hub.endpoint, public=public, scratch=scratch)
    return LocalCache(profile.folder / "hub", repo)


POLL_SECONDS = 0.5
_session: Session | None = None


def current() -> Session:
    """Return the session of this process.

    Raises:
        RuntimeError: a task was called outside of a flow of a release.
    """
    if _session is None:
        raise RuntimeError("no release is open in this process; call one of the flows")
    return _session


@contextmanager
def hold(session: Session) -> Iterator[Session]:
    """Make `session` the one of this process while the block runs, and close it afterwards."""
    global _session
    if _session is not None:
        raise RuntimeError("a release is open in this process already")
    _session = session
    try:
        yield session
    except Exception:
        raise
    except BaseException:
        session.end()
        raise
    finally:
        _session = None
        session.close()


def opened() -> Session | None:
    """Return the session of this process, None outside of a release."""
    return _session
