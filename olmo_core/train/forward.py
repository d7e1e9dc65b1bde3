"""The forward pass of a model in the precision of a run."""

from typing import Literal

import torch
from torch import Tensor

from olmo_core.model.transformer import Transformer


class Forward:
    """The part of the model that an objective may call.

    Args:
        model: the model being trained.
        precision: arithmetic of the products; weights stay fp32.
    """

    def __init__(self, model: Transformer, precision: Literal["bf16", "fp32", "float8"]) -> None:
        self.model = model
        self.dtype = torch.float32 if precision == "fp32" else torch.bfloat16

    def states(self, tokens: Tensor, readable: Tensor | None = None) -> Tensor:
        """Return the final states, the input of the head: (batch, seq, d_model), in the dtype of the products.

        Args:
            tokens: ids, (batch, seq).
            readable: which keys each query may attend to, bool (batch, 1, seq, seq); causal when None.
        """
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.dtype is not torch.float32):
            states = self.model.states(tokens, readable=readable)
        return states.to(self.dtype)

    @property
    def head(self) -> Tensor:
        """Weight of the head, (vocab, d_model), fp32."""
        return self.model.head.weight
