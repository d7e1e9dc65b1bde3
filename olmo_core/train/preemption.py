"""SIGTERM as a request to stop: the loop saves what it has, and all ranks stop after the same step."""

import signal
import threading
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist

from olmo_core.train.runtime import rank_and_world


class PreemptedError(RuntimeError):
    """The run was asked to stop, and can go on from where it stands."""


_asked = threading.Event()


def listen() -> Any:
    """Take SIGTERM, from now on and whichever thread trains, as a request to stop; only the main thread may call this.

    Returns:
        Who had it before, for `signal.signal`.
    """
    return signal.signal(signal.SIGTERM, lambda *_: _asked.set())


class Preemption:
    """Whether the process was asked to stop. All ranks make one.

    In the main thread it listens while it is open; where another one trains, somebody must have called `listen`.
    """

    def __init__(self) -> None:
        self._message: tuple[torch.Tensor, dist.Work] | None = None
        # On the CPU and in a group of its own: no step waits for it, and it waits for no step.
        self._group = dist.new_group(backend="gloo") if rank_and_world()[1] > 1 else None

    def __enter__(self) -> Self:
        """Take the signal from whoever had it."""
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signal back."""
        if self._main:
            signal.signal(signal.SIGTERM, self._before)
            _asked.clear()

    def requested(self) -> bool:
        """Return whether to stop now; to be asked once a step, on all ranks.

        With several ranks it is what they knew at the step before: its message had all of this step to arrive.
        """
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
        self._message = question, work
        return known
