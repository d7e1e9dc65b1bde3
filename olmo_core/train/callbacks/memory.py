"""How much memory a rank uses."""

import psutil
import torch

from olmo_core.train.callbacks.callback import Callback


class Memory(Callback):
    """`memory_bytes`: on a GPU the most that tensors took since the last call, on a CPU what the process holds now."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def numbers(self, updates: int) -> dict[str, float]:
        """Return it, and on a GPU also `memory_reserved_bytes`, which counts what the allocator keeps unused."""
        if self._device.type == "cpu":
            return {"memory_bytes": float(psutil.Process().memory_info().rss)}
        used = torch.cuda.max_memory_allocated(self._device)
        reserved = torch.cuda.max_memory_reserved(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        return {"memory_bytes": float(used), "memory_reserved_bytes": float(reserved)}
