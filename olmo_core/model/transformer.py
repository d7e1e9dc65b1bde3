"""The network of OLMo 2 and OLMo 1, from token ids to logits. `config` has its shapes and FLOPs.

In OLMo 2, the *output* of each sublayer is normed before it is added to the residual stream, queries and keys are
normed over their full projection width before the rotary positions, nothing has a bias, and embedding and head are not
tied (OLMo 2 report, arXiv 2501.00656, section 3). OLMo 1 norms the input of each sublayer with a LayerNorm without gain
or bias, may tie head and embedding, and may clip queries, keys and values (OLMo report, arXiv 2402.00838, section 2.1).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from olmo_core.model.arithmetic import Linear, linear
from olmo_core.model.attention import Attention, Mask, Rotation, rotary
from olmo_core.model.config import ModelConfig
from olmo_core.model.norm import norm


class Transformer(nn.Module):
    """Embedding, blocks, final norm, head. Weights are uninitialised until drawn by `initialize` or loaded."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # With a given weight: drawing one on the meta device makes torch import its compiler, 3 s in every process.
        rows, width = config.padded_vocab_size, config.d_model
        self.embeddings = nn.Embedding(rows, width, _weight=torch.empty(rows, width))
        block = Block if config.architecture == "olmo2" else PreNormBlock
        self.blocks = nn.ModuleList(block(config) for _ in range(config.n_layers))
        self.norm = norm(config, width)
        self.head = TiedHead(self.embeddings) if config.tied_embeddings else Linear(width, rows)

    def initialize(self, generator: torch.Generator) -> "Transformer":
        """Draw all matrices from a normal truncated at three deviations, in `parameters()` order; set gains to one."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.ones_(parameter)
            else:
                std = self._deviation(name, parameter.shape[1])
                nn.init.trunc_normal_(parameter, std=std, a=-3 * std, b=3 * std, generator=generator)
        return self

    def _deviation(self, name: str, width: int) -> float:
        """Return the standard deviation of the first values of a matrix with input width `width`."""
        if self.config.init == "normal":
            return self.config.init_std
        if not name.endswith(("attention.w_out.weight", "feed_forward.w2.weight")):
            return 1 / math.sqrt(width)
        block = int(name.split(".")[1])
        return 1 / math.sqrt(2 * width * (block + 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map token ids (batch, seq) to logits (batch, seq, padded_vocab_size)."""
        logits: Tensor = self.head(self.states(tokens))
        return logits

    def states(self, tokens: Tensor, positions: Tensor | None = None, readable: Tensor | None = None) -> Tensor:
        """Map token ids (batch, seq) to the final normed states, the input of the head: (batch, seq, d_model).

        Args:
            tokens: ids, (batch, seq).
            positions: position of each token, (batch, seq); counted from the start of the row by default. Evaluation
                packs all answers to a question into one row, with the positions that each would have alone.
            readable: True where a query may read a key, bool (batch, 1, seq, seq); causal by default.
        """
        x: Tensor = self.embeddings(tokens)
        rotation = rotary(tokens.shape[1], self.config.head_dim, self.config.rope_theta, tokens.device)
        if positions is not None:
            rotation = (rotation[0][positions].unsqueeze(1), rotation[1][positions].unsqueeze(1))
        mask = Mask.of(tokens, readable)
        for block in self.blocks:
            x = block(x, rotation, mask)
        x = self.norm(x)
        return x


class Block(nn.Module):
    """OLMo 2's block: attention and feed-forward, with a norm on the output of each, not on the input."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = norm(config, config.d_model)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = norm(config, config.d_model)

    def forward(self, x: Tensor, rotation: Rotation, mask: Mask) -> Tensor:
        """Map (batch, seq, d_model) to the same shape."""
        x = x + self.attention_norm(self.attention(x, rotation, mask))
        x = x + self.feed_forward_norm(self.feed_forward(x))
        return x


class PreNormBlock(Block):
    """OLMo 1's block, with a norm on the input of attention and of feed-forward."""

    def forward(self, x: Tensor, rotation: Rotation, mask: Mask) -> Tensor:
        """Map (batch, seq, d_model) to the same shape."""
        x = x + self.attention(self.attention_norm(x), rotation, mask)
        x = x + self.feed_forward(self.feed_forward_norm(x))
        return x


class FeedForward(nn.Module):
    """SwiGLU: `w1` is the gate, `w3` the gated value, and `w2` projects the product back to `d_model`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = Linear(config.d_model, config.hidden_size)
        self.w2 = Linear(config.hidden_size, config.d_model)
        self.w3 = Linear(config.d_model, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, seq, d_model) to the same shape."""
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class TiedHead(nn.Module):
    """A head that uses the weight of the embedding, without a copy and without registering it a second time."""

    def __init__(self, embeddings: nn.Embedding) -> None:
        super().__init__()
        self._embeddings = (embeddings,)  # in a tuple, so that torch does not register it

    @property
    def weight(self) -> Tensor:
        """The embedding's weight, (padded_vocab_size, d_model)."""
        return self._embeddings[0].weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., d_model) to logits (..., padded_vocab_size)."""
        return linear(x, self.weight)
