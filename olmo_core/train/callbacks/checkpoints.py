"""The cost of each checkpoint, reported at its training step."""

from collections.abc import Callable, Mapping
from types import TracebackType

from olmo_core.train.callbacks.callback import Callback
from olmo_core.train.checkpoint.saver import Saver


class Checkpoints(Callback):
    """Reports `checkpoint/blocking_seconds`, `checkpoint/seconds` until the commit, and `checkpoint/bytes`."""

    def __init__(self, saver: Saver, metrics: Callable[[int, Mapping[str, float]], None]) -> None:
        self._saver, self._metrics = saver, metrics

    def after(self, update: int) -> None:
        """Report the checkpoints committed since the last call."""
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
        """Report the last checkpoint; the run has to wait for it in any case."""
        if kind is None:
            self._saver.wait()
            self.after(0)
