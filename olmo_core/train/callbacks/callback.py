"""The interface of a callback: the loop calls it after every training step and sometimes asks it for live numbers.

No callback changes a weight or keeps state that affects the result (moments, window of skip-step, history): that is
saved in checkpoints. A callback's own state, such as times and memory, starts empty when a run resumes.
"""

from types import TracebackType
from typing import Self


class Callback:
    """A callback that does nothing; subclasses override what they need. It is open while the loop runs."""

    def __enter__(self) -> Self:
        """Start."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish, however the loop ended."""

    def after(self, update: int) -> None:
        """React to training step `update`, which was sent to the device; wait for it only in order to measure."""

    def numbers(self, updates: int) -> dict[str, float]:
        """Return live numbers; called when the device has finished the `updates` training steps since the last call."""
        return {}
