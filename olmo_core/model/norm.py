"""The norms of the two architectures: RMSNorm of OLMo 2, LayerNorm without gain or bias of OLMo 1."""

import torch.nn.functional as F
from torch import Tensor, nn

from olmo_core.model.config import ModelConfig


class RMSNorm(nn.RMSNorm):
    """Divides by the root mean square over the last dimension, in fp32 whatever type comes in; that type goes out."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape and type."""
        return F.rms_norm(x.float(), self.normalized_shape, self.weight.float(), self.eps).to(x.dtype)


class LayerNorm(nn.Module):
    """Subtracts the mean and divides by the deviation over the last dimension, in fp32; it has no weights."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.width, self.eps = width, eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape and type."""
        return F.layer_norm(x.float(), (self.width,), eps=self.eps).to(x.dtype)


def norm(config: ModelConfig, width: int) -> nn.Module:
    """Return the norm of the architecture over `width` numbers."""
    if config.architecture == "olmo2":
        return RMSNorm(width, eps=config.norm_eps)
    return LayerNorm(width, eps=config.norm_eps)
