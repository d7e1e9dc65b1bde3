"""Track one release: its event log, and the process that sends the events to MLflow."""

import os

from infra.ports import HOST
from infra.profile import Profile
from olmo_core.recipe.plan import Plan
from tasks.tracking.events import EventLog, SilentEventLog
from tasks.tracking.queue import EventQueue
from tasks.tracking.sender import hide_credentials, start_sender

DRAIN_SECONDS = 60.0
STOP_SECONDS = {False: 5.0, True: 1.0}  # by whether the release was asked to end


def unused_address(profile: Profile) -> str:
    """Return a warning if MLFLOW_TRACKING_URI names another MLflow than a release will use, else ''."""
    given, used = os.environ.get("MLFLOW_TRACKING_URI"), _address(profile)
    own = f"http://{HOST}:{profile.services.mlflow_port}"  # of `olmo up`, which may use the same database
    if given in (None, "", used) or (given == own and profile.mlflow is None):
        return ""
    hide = hide_credentials(given)
    return (
        f"MLflow: {used}; MLFLOW_TRACKING_URI={hide(given)} is not used, `mlflow` in the profile names another server"
    )


def _address(profile: Profile) -> str:
    return profile.mlflow or f"sqlite:///{profile.folder / 'mlflow.db'}"


class Tracking:
    """Event log and sender of one release.

    A release that is already tracked, with nothing to make and no event to send, needs neither.
    """

    def __init__(self, profile: Profile, plan: Plan, idle: bool) -> None:
        folder, address = profile.folder / "outbox", _address(profile)
        self._marker = folder / f"{plan.id}.told"
        quiet = idle and self._marker.exists() and not EventQueue(folder, address).left()
        self.outbox = (SilentEventLog if quiet else EventLog)(folder, plan.recipe.name, plan.id)
        self._sender = None if quiet else start_sender(folder, address)
        self._folder = folder
        self._refused_before = len(EventQueue(folder, address).refused())

    def close(self, ended: bool) -> list[str]:
        """Send the remaining events as far as the server accepts them; return notes about the rest.

        Args:
            ended: whether the release was asked to end; the remaining events are then kept for the next one.
        """
        if self._sender is None:
            return []
        if ended:
            self._sender.stop(STOP_SECONDS[ended])
            return []
        left = self._sender.drain(DRAIN_SECONDS)
        if left == 0:
            self._marker.touch()
        notes = []
        if left and (trouble := self._sender.trouble()):
            kept = f"they stay in {self._folder} for the next run"
            notes.append(f"MLflow did not accept {left} events: {trouble}; {kept}")
        if refused := self._sender.refused()[self._refused_before :]:
            notes.append(f"MLflow refused {len(refused)} events permanently, the last: {refused[-1]}")
        self._sender.stop(STOP_SECONDS[ended])
        return notes
