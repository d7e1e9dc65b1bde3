"""Python's garbage collection at the same steps on every rank: a pause of one rank is a pause of all."""

import gc
from types import TracebackType

from olmo_core.train.callbacks.callback import Callback

EVERY = 100  # Steps. A collection of the young generations takes about a millisecond.


class GarbageCollection(Callback):
    """Collects the two young generations every so many steps, and never in between."""

    def __enter__(self) -> "GarbageCollection":
        """Collect everything once, and switch the automatic collection off."""
        self._was = gc.isenabled()
        gc.collect()
        gc.disable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Switch it on again if it was."""
        if self._was:
            gc.enable()

    def after(self, update: int) -> None:
        """Collect if it is time."""
        if update % EVERY == 0:
            gc.collect(1)
