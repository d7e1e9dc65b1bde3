"""Tokens per second over all ranks, and the share of the devices' peak that this is."""

import time

import torch

from olmo_core.model.config import ModelConfig
from olmo_core.train.callbacks.callback import Callback
from olmo_core.train.config import TrainingConfig
from olmo_core.train.device_flops import peak_flops


class Throughput(Callback):
    """Reports `tokens_per_second`, and the utilization counted both ways, `utilization_causal` and `utilization_full`.

    FLOPs are those of `ModelConfig.flops_per_token`: recomputation in the backward pass is not counted.
    """

    def __init__(self, model: ModelConfig, config: TrainingConfig, device: torch.device, world: int) -> None:
        self._tokens = config.batch_tokens
        dtype = torch.float32 if config.precision == "fp32" else torch.bfloat16
        available = world * peak_flops(device, dtype)
        self._shares = {
            f"utilization_{count}": model.flops_per_token(config.sequence_length, count) / available
            for count in ("causal", "full")
        }
        self._since: float | None = None

    def numbers(self, updates: int) -> dict[str, float]:
        """Return the rates of the training steps since the last call; none at the first, which includes compilation."""
        now, since = time.perf_counter(), self._since
        self._since = now
        if since is None:
            return {}
        rate = updates * self._tokens / (now - since)
        return {"tokens_per_second": rate} | {name: rate * share for name, share in self._shares.items()}
