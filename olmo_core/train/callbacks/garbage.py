"""Python's garbage collection, at the same steps on every rank, because a pause of one rank stops all."""

import gc
from types import TracebackType

from olmo_core.train.callbacks.callback import Callback

EVERY = 100  # Steps. A collection of the young generations takes about a millisecond.


class GarbageCollection(Callback):
    """Collects the two young generations every `EVERY` steps, and never in between."""

    def __enter__(self) -> "GarbageCollection":
        """Collect everything once and turn automatic collection off."""
        self._was = gc.isenabled()
        gc.collect()
        gc.disable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Turn automatic collection on again, if it was on."""
        if self._was:
            gc.enable()

    def after(self, update: int) -> None:
        """Collect if `update` is a multiple of `EVERY`."""
        if update % EVERY == 0:
            gc.collect(1)
