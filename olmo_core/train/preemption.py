"""SIGTERM as a request to stop: the loop saves what it has, and all ranks stop after the same step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

import torch
import torch.distributed as dist

from olmo_core.train.runtime import rank_and_world


class PreemptedError(RuntimeError):
    """The run was asked to stop, and can go on from where it stands."""


class Preemption:
    """Takes note of SIGTERM while it is open. All ranks make one.

    A thread other than the main one gets no signals; what runs there is stopped by other means.
    """

    def __init__(self) -> None:
        self._noted = False
        self._message: tuple[torch.Tensor, dist.Work] | None = None
        # On the CPU and in a group of its own: no step waits for it, and it waits for no step.
        self._group = dist.new_group(backend="gloo") if rank_and_world()[1] > 1 else None

    def __enter__(self) -> Self:
        """Take the signal from whoever had it."""
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signal back."""
        if self._main:
            signal.signal(signal.SIGTERM, self._before)

    def requested(self) -> bool:
        """Return whether to stop now; to be asked once a step, on all ranks.

        With several ranks it is what they knew at the step before: its message had all of this step to arrive.
        """
        if self._group is None:
            return self._noted
        known = False
        if self._message is not None:
            answer, work = self._message
            work.wait()
            known = bool(answer.item())
        question = torch.tensor([self._noted], dtype=torch.int32)
        work = dist.all_reduce(question, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None
        self._message = question, work
        return known

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = True
