"""The norms of the two architectures: RMSNorm in OLMo 2, LayerNorm without gain or bias in OLMo 1."""

import torch.nn.functional as F
from torch import Tensor, nn

from olmo_core.model.config import ModelConfig


class RMSNorm(nn.RMSNorm):
    """Divides by the root mean square over the last dimension, in fp32; the output has the dtype of the input."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape and dtype."""
        return F.rms_norm(x.float(), self.normalized_shape, self.weight.float(), self.eps).to(x.dtype)


class LayerNorm(nn.Module):
    """Subtracts the mean and divides by the standard deviation over the last dimension, in fp32; without weights."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.width, self.eps = width, eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape and dtype."""
        return F.layer_norm(x.float(), (self.width,), eps=self.eps).to(x.dtype)


def norm(config: ModelConfig, width: int) -> nn.Module:
    """Return the architecture's norm over a last dimension of `width`."""
    if config.architecture == "olmo2":
        return RMSNorm(width, eps=config.norm_eps)
    return LayerNorm(width, eps=config.norm_eps)
