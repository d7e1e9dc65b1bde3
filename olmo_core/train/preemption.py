"""SIGTERM and Ctrl-C as requests to stop: the loop saves its state, and all ranks stop after the same step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist

from olmo_core.train.distributed.group import rank_and_world

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class PreemptedError(RuntimeError):
    """The run was asked to stop and is saved, ready to resume; `number` is the signal's number."""

    def __init__(self, message: str, number: int = signal.SIGTERM) -> None:
        super().__init__(message)
        self.number = number


_asked = threading.Event()


def ask(*_: object) -> None:
    """Ask the run of this process to stop, from any thread or as a signal handler."""
    _asked.set()


class Preemption:
    """Whether the process was asked to stop. Every rank creates one.

    In the main thread it handles SIGTERM and SIGINT while it is open; if another thread trains, call `ask` instead.
    Two signals go to the previous handler, if that is a function: one before the first step, when there is nothing to
    save, and the same signal a second time. With several ranks a repeated signal is ignored: torchrun sends up to
    three to each rank for one key press.
    """

    def __init__(self) -> None:
        self._began = False
        self._taken: list[int] = []
        self._message: tuple[torch.Tensor, dist.Work] | None = None
        # A separate group on the CPU: its messages and those of the training step do not wait for each other.
        self._group = dist.new_group(backend="gloo") if rank_and_world()[1] > 1 else None

    def __enter__(self) -> Self:
        """Install the signal handlers."""
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before: dict[int, Any] = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the previous handlers."""
        stopped = self._group is not None and isinstance(error, PreemptedError)
        if self._main:
            for number, before in self._before.items():
                signal.signal(number, signal.SIG_IGN if stopped else before)
            _asked.clear()

    @property
    def number(self) -> int:
        """The signal received; SIGTERM, as clusters send it, if the request came from another rank or thread."""
        return self._taken[0] if self._taken else signal.SIGTERM

    def _take(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        again = number in self._taken and self._group is None
        if callable(before) and (not self._began or again):
            before(number, frame)
        self._taken.append(number)
        ask()

    def requested(self) -> bool:
        """Return whether to stop now; call it once per step, on all ranks.

        With several ranks the answer is that of the step before, so that its message had a whole step to arrive.
        """
        self._began = True
        if self._group is None:
            return _asked.is_set()
        known = False
        if self._message is not None:
            answer, work = self._message
            work.wait()
            known = bool(answer.item())
        question = torch.tensor([_asked.is_set()], dtype=torch.int32)
        work = dist.all_reduce(question, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None
        if self._message is None:
            work.wait()  # afterwards every rank handles the signals
        self._message = question, work
        return known
