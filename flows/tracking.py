"""What MLflow is told during a release: the outbox, and the process that ships it."""

from olmo_core.recipe.plan import Plan
from olmo_core.recipe.profile import Profile
from tasks.inbox import Inbox
from tasks.outbox import Outbox, SilentOutbox
from tasks.shipper import start_shipper

DRAIN_SECONDS = 60.0
STOP_SECONDS = {False: 5.0, True: 1.0}  # by whether the release was asked to end


class Tracking:
    """Outbox and shipper of one release.

    A release that was told before, with nothing to make and nothing left to ship, needs neither.
    """

    def __init__(self, profile: Profile, plan: Plan, idle: bool) -> None:
        folder, address = profile.folder / "outbox", profile.mlflow or f"sqlite:///{profile.folder / 'mlflow.db'}"
        self._told = folder / f"{plan.id}.told"
        quiet = idle and self._told.exists() and not Inbox(folder, address).left()
        self.outbox = (SilentOutbox if quiet else Outbox)(folder, plan.recipe.name, plan.id)
        self._shipper = None if quiet else start_shipper(folder, address)

    def close(self, ended: bool) -> None:
        """Ship what is left, as far as the server takes it; the rest stays for the next release.

        Args:
            ended: whether the release was asked to end; then all of it stays.
        """
        if self._shipper is not None:
            if not ended and self._shipper.drain(DRAIN_SECONDS) == 0:
                self._told.touch()
            self._shipper.stop(STOP_SECONDS[ended])
