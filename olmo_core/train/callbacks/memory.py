"""The memory that a rank uses."""

import psutil
import torch

from olmo_core.train.callbacks.callback import Callback


class Memory(Callback):
    """Reports `memory_bytes`: on a GPU the tensors' peak since the last call, on a CPU the process's current RSS."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def numbers(self, updates: int) -> dict[str, float]:
        """Return `memory_bytes`, and on a GPU `memory_reserved_bytes`, which includes the allocator's unused memory."""
        if self._device.type == "cpu":
            return {"memory_bytes": float(psutil.Process().memory_info().rss)}
        used = torch.cuda.max_memory_allocated(self._device)
        reserved = torch.cuda.max_memory_reserved(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        return {"memory_bytes": float(used), "memory_reserved_bytes": float(reserved)}
