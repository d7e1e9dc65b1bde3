"""What stands beside the loop: one concern, told of every training step and asked for live numbers now and then.

Nothing of it changes a weight. What bears on the result (moments, window of skip-step, history) is state of the run and
is kept there; times and memory are not, and begin anew where a run goes on.
"""

from types import TracebackType
from typing import Self


class Callback:
    """Does nothing; a callback says what it does otherwise. It is open while the loop runs."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, however the loop ended."""

    def after(self, update: int) -> None:
        """Note that training step `update` was sent to the device; wait for it only where measuring is the purpose."""

    def numbers(self, updates: int) -> dict[str, float]:
        """Return live numbers, once the device is through with the `updates` training steps since the last call."""
        return {}
