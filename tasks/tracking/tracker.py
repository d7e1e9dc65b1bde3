"""How one release is tracked: its event log, and the process that sends the events to MLflow."""

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
    """Return a line where MLFLOW_TRACKING_URI names another MLflow than a release will use; '' where it does not."""
    named, used = os.environ.get("MLFLOW_TRACKING_URI"), _address(profile)
    own = f"http://{HOST}:{profile.services.mlflow_port}"  # of `olmo up`, which may keep the same database
    if named in (None, "", used) or (named == own and profile.mlflow is None):
        return ""
    hide = hide_credentials(named)
    return (
        f"MLflow: {used}; MLFLOW_TRACKING_URI={hide(named)} is not used, `mlflow` in the profile names another server"
    )


def _address(profile: Profile) -> str:
    return profile.mlflow or f"sqlite:///{profile.folder / 'mlflow.db'}"


class Tracking:
    """EventLog and sender of one release.

    A release that is already tracked, with nothing to make and no event left to send, needs neither.
    """

    def __init__(self, profile: Profile, plan: Plan, idle: bool) -> None:
        folder, address = profile.folder / "outbox", _address(profile)
        self._told = folder / f"{plan.id}.told"
        quiet = idle and self._told.exists() and not EventQueue(folder, address).left()
        self.outbox = (SilentEventLog if quiet else EventLog)(folder, plan.recipe.name, plan.id)
        self._sender = None if quiet else start_sender(folder, address)
        self._folder = folder
        self._refused_before = len(EventQueue(folder, address).refused())

    def close(self, ended: bool) -> list[str]:
        """Ship what is left, as far as the server takes it; return what a person should know of the rest.

        Args:
            ended: whether the release was asked to end; then all of it stays for the next one.
        """
        if self._sender is None:
            return []
        if ended:
            self._sender.stop(STOP_SECONDS[ended])
            return []
        left = self._sender.drain(DRAIN_SECONDS)
        if left == 0:
            self._told.touch()
        notes = []
        if left and (trouble := self._sender.trouble()):
            notes.append(f"MLflow did not take {left} events: {trouble}; they stay in {self._folder} for the next run")
        if refused := self._sender.refused()[self._refused_before :]:
            notes.append(f"MLflow refused {len(refused)} events for good, the last: {refused[-1]}")
        self._sender.stop(STOP_SECONDS[ended])
        return notes
