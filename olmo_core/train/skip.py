"""Skipping outlier steps: those whose loss or gradient norm is far above that of recent accepted steps, or not finite.

Everything happens on the device: a verdict is a tensor that the optimizer kernel reads, so no step waits for the host.
The rule is that of the skip-step AdamW that trained OLMo 2 32B. There are two differences: a skipped step never enters
the window that judges the next ones, and the window is part of the checkpoint.
"""

import torch
from torch import Tensor

from olmo_core.train.config import SkipStepConfig

STATE_PREFIX = "skip_step."


class SkipStep:
    """The losses and gradient norms of the last accepted steps, and the verdict on the next.

    Attributes:
        window: (2, config.window) fp32, losses and norms, a ring buffer with accepted step `n` at `n % window`.
        accepted: (1,) int64, number of accepted steps.
    """

    def __init__(self, config: SkipStepConfig, device: torch.device) -> None:
        self.config = config
        self.window = torch.zeros(2, config.window, device=device)
        self.accepted = torch.zeros(1, dtype=torch.int64, device=device)
        self._slots = torch.arange(config.window, device=device)

    def skips(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Return whether to skip the step with this loss and gradient norm, a bool scalar; record it if accepted.

        Both values are the same on every rank, and so is the verdict.
        """
        seen = torch.stack((loss, norm)).float()
        held = self.accepted.clamp(max=self.config.window)
        filled = self._slots < held
        mean = (self.window * filled).sum(1) / held
        deviation = (((self.window - mean.unsqueeze(1)).square() * filled).sum(1) / (held - 1)).sqrt()
        spike = (seen > mean + self.config.deviations * deviation) & (self.accepted >= self.config.warmup)
        skipped = (spike | ~seen.isfinite()).any()
        here = (self._slots == self.accepted % self.config.window) & ~skipped
        self.window.copy_(torch.where(here, seen.unsqueeze(1), self.window))
        self.accepted += ~skipped
        return skipped

    def state(self) -> dict[str, Tensor]:
        """Return the tensors to save in a checkpoint; the ones in use, not copies."""
        return {f"{STATE_PREFIX}window": self.window, f"{STATE_PREFIX}accepted": self.accepted}
