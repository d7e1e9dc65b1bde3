"""The session of a release: its plan, store, workers and outbox, shared by every flow and task of one process.

Flows and tasks pass each other only labels and ids and look up the objects here. Ray is started for the first step that
has to be made, so a release that is already complete never pays for it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from infra.profile import Profile
from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Progress
from olmo_core.artifact.store import Store
from olmo_core.hub.cache import LocalCache
from olmo_core.hub.target import Target
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import Recipe
from tasks.tracking.events import EventLog
from tasks.turns import Turns
from tasks.workers.failures import EndedError
from tasks.workers.lazy_pool import LazyPool
from tasks.workers.pool import Pool
from tasks.workers.progress import REPORT_SECONDS, Report


class Session:
    """The shared state of a running release.

    Attributes:
        plan: all steps of the release.
        profile: where it runs.
        store: store of its artifacts.
        outbox: queue of events for MLflow.
        turns: decides when a flow may submit a step that needs steps of other flows.
        found: number of steps that were complete at the start.
        made: labels of the steps that were made.
        reused: labels of the steps that were reused.
        notes: lines for the user, shown at the end.
    """

    def __init__(self, plan: Plan, profile: Profile, store: Store, outbox: EventLog, found: int = 0) -> None:
        self.plan, self.profile, self.store, self.outbox, self.found = plan, profile, store, outbox, found
        self.made: list[str] = []
        self.reused: list[str] = []
        self.notes: list[str] = []
        self._ended = threading.Event()
        self.turns = Turns(store, self._ended)
        self._pool = LazyPool(partial(Pool, profile, store, outbox), self._ended)
        self._own: dict[str, Report] = {}

    @property
    def workers(self) -> Pool:
        """The cluster, connected or started on first use.

        Raises:
            EndedError: the release was asked to end.
        """
        return self._pool.get()

    def start_workers(self) -> None:
        """Begin to connect to the cluster or to start one, without waiting for it."""
        self._pool.start()

    @property
    def target(self) -> Target:
        """Where revisions are published."""
        return target_of(self.profile, self.plan.recipe)

    def announce(self, step: Step, reused: bool) -> None:
        """Record that a step was made or reused, and wake the flows that wait for it."""
        (self.reused if reused else self.made).append(step.label)
        self.turns.look()

    def reporter(self, step: Step) -> Progress:
        """Return the progress callback of a step that is made in this process."""

        def report(done: float, total: float, unit: str, **shown: float) -> None:
            self.check_ended()
            self._own[step.label] = Report(done, total, unit, shown, time.time())

        return report

    def pause(self, label: str, seconds: float) -> None:
        """Wait for the pause a Hub asks for; progress shows it under `label`."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds and not self.ended:
            self._own[label] = Report(passed, seconds, "s of the pause the Hub asks for", {}, time.time())
            self._ended.wait(min(REPORT_SECONDS, seconds - passed))
        self._own.pop(label, None)

    def reports(self) -> dict[str, Report]:
        """Return the progress of every step in progress, here or on the cluster."""
        pool = self._pool.started()
        cluster = pool.reports() if pool is not None else {}
        return {**{label: each for label, each in self._own.items() if each.done < each.total}, **cluster}

    @property
    def ended(self) -> bool:
        """Whether the release was asked to end."""
        return self._ended.is_set()

    def end(self) -> None:
        """Start nothing more and stop running steps: training saves, everything else is abandoned; return when done."""
        self._ended.set()
        self.turns.look()
        self._pool.end()

    def check_ended(self) -> None:
        """Raise EndedError if the release was asked to end."""
        if self.ended:
            raise EndedError

    def kept(self) -> str:
        """Describe what is kept of the release if it ends now."""
        count = self.found + len(self.made)
        finished = f"{count} finished {'step is' if count == 1 else 'steps are'} kept"
        return "; ".join([finished, *sorted(self._pool.saved)])

    def close(self) -> None:
        """Close the outbox and the connection to the cluster."""
        self.outbox.close()
        self._pool.close()


def target_of(profile: Profile, recipe: Recipe) -> Target:
    """Return where a profile publishes the revisions of a recipe: a local folder of the Hub cache layout, or a Hub."""
    repo = profile.hub.repo or recipe.release.card.repo
    if profile.hub.endpoint is not None:
        from olmo_core.hub.endpoint import HubEndpoint  # takes 0.2 s, not needed for a local folder

        public, scratch = recipe.release.card.public, profile.folder / "scratch"
        return HubEndpoint(repo, profile.hub.endpoint, public=public, scratch=scratch)
    return LocalCache(profile.folder / "hub", repo)


_session: Session | None = None


def current() -> Session:
    """Return the session of this process.

    Raises:
        RuntimeError: a task was called outside a flow of a release.
    """
    if _session is None:
        raise RuntimeError("no release is open in this process; call one of the flows")
    return _session


@contextmanager
def hold(session: Session) -> Iterator[Session]:
    """Make `session` the session of this process while the block runs; close it afterwards."""
    global _session
    if _session is not None:
        raise RuntimeError("a release is already open in this process; close it first")
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
    """Return the session of this process, None outside a release."""
    return _session
