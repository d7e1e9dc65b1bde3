"""What each checkpoint cost, told at the step it holds."""

from collections.abc import Callable, Mapping
from types import TracebackType

from olmo_core.train.callbacks.callback import Callback
from olmo_core.train.checkpoint.saver import Saver


class Checkpoints(Callback):
    """Tells `checkpoint/blocking_seconds`, `checkpoint/seconds` until it was committed, and `checkpoint/bytes`."""

    def __init__(self, saver: Saver, metrics: Callable[[int, Mapping[str, float]], None]) -> None:
        self._saver, self._metrics = saver, metrics

    def after(self, update: int) -> None:
        """Tell of those that were committed since."""
        for saved in self._saver.committed():
            self._metrics(
                saved.update,
                {
                    "checkpoint/blocking_seconds": saved.blocking_seconds,
                    "checkpoint/seconds": saved.seconds,
                    "checkpoint/bytes": saved.bytes,
                },
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell of the last, which the run has to wait for in any case."""
        if kind is None:
            self._saver.wait()
            self.after(0)
