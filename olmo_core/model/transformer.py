"""The network of OLMo 2 and OLMo 1: token ids in, logits out. What it costs and its shapes are in `config`.

What sets OLMo 2 apart: each sublayer's *output* is normed before it joins the residual stream, queries and keys are
normed over their full projection width before the rotary positions, nothing has a bias, embedding and head are not tied
(OLMo 2 report, arXiv 2501.00656, section 3). OLMo 1 norms what a sublayer reads, by a LayerNorm without gain or bias,
may tie head and embedding, and may clip queries, keys and values (OLMo report, arXiv 2402.00838, section 2.1).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from olmo_core.model.arithmetic import Linear, attention, linear, matmul
from olmo_core.model.config import ModelConfig

# Up to this many tokens the plain product beats torch's CPU attention kernel: forward and backward of 20 heads of
# 512 x 64 take 8.4 ms instead of 30, of 24 heads of 256 x 64 3.1 instead of 9.5, in bf16 on 2 cores; beyond it the
# scores cost too much memory.
SHORT = 512
CHUNK = 128  # Queries of one product: keys after the last of them are left out, 3 of 8 scores of 512 tokens.


class Transformer(nn.Module):
    """Embedding, blocks, final norm, head. Weights are uninitialised until `initialize` or loading fills them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # Given its weight: drawing one on the meta device makes torch import its compiler, 3 s in every process.
        rows, width = config.padded_vocab_size, config.d_model
        self.embeddings = nn.Embedding(rows, width, _weight=torch.empty(rows, width))
        block = Block if config.architecture == "olmo2" else PreNormBlock
        self.blocks = nn.ModuleList(block(config) for _ in range(config.n_layers))
        self.norm = norm(config, width)
        self.head = TiedHead(self.embeddings) if config.tied_embeddings else Linear(width, rows)

    def initialize(self, generator: torch.Generator) -> "Transformer":
        """Draw every matrix from a normal cut at three deviations, in the order of `parameters()`; gains are one."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.ones_(parameter)
            else:
                std = self._deviation(name, parameter.shape[1])
                nn.init.trunc_normal_(parameter, std=std, a=-3 * std, b=3 * std, generator=generator)
        return self

    def _deviation(self, name: str, width: int) -> float:
        """Deviation of the first values of a matrix that reads `width` numbers."""
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

    def states(self, tokens: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Map token ids (batch, seq) to the normed states the head reads, (batch, seq, d_model).

        Rows are plain causal text unless `positions` (batch, seq) and `mask` (batch, 1, seq, seq; True where a query
        may read a key) say otherwise: evaluation packs all answers to a question into one row with them.
        """
        x: Tensor = self.embeddings(tokens)
        rotation = rotary(tokens.shape[1], self.config.head_dim, self.config.rope_theta, tokens.device)
        if positions is not None:
            rotation = (rotation[0][positions].unsqueeze(1), rotation[1][positions].unsqueeze(1))
        if mask is None and tokens.device.type == "cpu" and tokens.shape[1] <= SHORT:
            mask = causal_bias(tokens.shape[1])
        for block in self.blocks:
            x = block(x, rotation, mask)
        x = self.norm(x)
        return x


class Block(nn.Module):
    """Attention and feed-forward; the norm sits on what each adds to the stream, not on what it reads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = norm(config, config.d_model)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = norm(config, config.d_model)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """Map (batch, seq, d_model) to the same shape."""
        x = x + self.attention_norm(self.attention(x, rotation, mask))
        x = x + self.feed_forward_norm(self.feed_forward(x))
        return x


class PreNormBlock(Block):
    """OLMo 1's: the norm sits on what attention and feed-forward read."""

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """Map (batch, seq, d_model) to the same shape."""
        x = x + self.attention(self.attention_norm(x), rotation, mask)
        x = x + self.feed_forward(self.feed_forward_norm(x))
        return x


class Attention(nn.Module):
    """Causal self-attention; several query heads may share one key and value head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        kv_width = config.n_kv_heads * config.head_dim
        self.head_dim = config.head_dim
        self.group = config.n_heads // config.n_kv_heads
        self.w_q = Linear(config.d_model, config.d_model)
        self.w_k = Linear(config.d_model, kv_width)
        self.w_v = Linear(config.d_model, kv_width)
        self.w_out = Linear(config.d_model, config.d_model)
        self.clip = config.clip_qkv
        normed = config.architecture == "olmo2"
        self.q_norm = norm(config, config.d_model) if normed else nn.Identity()
        self.k_norm = norm(config, kv_width) if normed else nn.Identity()

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """Map (batch, seq, d_model) to the same shape; position i reads positions up to i, or what `mask` allows."""
        v = self._clipped(self.w_v(x))
        q = rotate(self._heads(self.q_norm(self._clipped(self.w_q(x)))), rotation).to(v.dtype)
        k = rotate(self._heads(self.k_norm(self._clipped(self.w_k(x)))), rotation).to(v.dtype)
        v = self._heads(v)
        if self.group > 1:
            k, v = (t.repeat_interleave(self.group, dim=1) for t in (k, v))
        mixed = attend(q, k, v, mask)
        out: Tensor = self.w_out(mixed.transpose(1, 2).flatten(2))
        return out

    def _clipped(self, x: Tensor) -> Tensor:
        return x if self.clip is None else x.clamp(-self.clip, self.clip)

    def _heads(self, x: Tensor) -> Tensor:
        """(batch, seq, heads * head_dim) -> (batch, heads, seq, head_dim)."""
        return x.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)


class RMSNorm(nn.RMSNorm):
    """Divides by the root mean square over the last dimension, in fp32 whatever type comes in; that type goes out."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape and type."""
        return F.rms_norm(x.float(), self.normalized_shape, self.weight.float(), self.eps).to(x.dtype)


class LayerNorm(nn.Module):
    """Takes off the mean and divides by the deviation over the last dimension, in fp32; nothing of it is trained."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.width, self.eps = width, eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape and type."""
        return F.layer_norm(x.float(), (self.width,), eps=self.eps).to(x.dtype)


def norm(config: ModelConfig, width: int) -> nn.Module:
    """The norm of the architecture over `width` numbers."""
    if config.architecture == "olmo2":
        return RMSNorm(width, eps=config.norm_eps)
    return LayerNorm(width, eps=config.norm_eps)


class FeedForward(nn.Module):
    """SwiGLU: `w1` is the gate, `w3` the value it gates, `w2` brings the product back to the stream's width."""

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
    """Logits by the weights of the embedding, of which it holds no copy and no name of its own."""

    def __init__(self, embeddings: nn.Embedding) -> None:
        super().__init__()
        self._embeddings = (embeddings,)  # In a tuple, so that its weight is not registered a second time.

    @property
    def weight(self) -> Tensor:
        """(padded_vocab_size, d_model), the embedding's."""
        return self._embeddings[0].weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., d_model) to logits (..., padded_vocab_size)."""
        return linear(x, self.weight)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mix values by attention; q, k, v and the result are (batch, heads, seq, head_dim).

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: True where a query may read a key; `causal_bias`, by the plain product; or none, which is causal.
    """
    if mask is None or mask.dtype == torch.bool:
        return attention(q, k, v, mask)
    q, k, v = (each.contiguous() for each in (q, k, v))  # Parts are then views, not copies kept for the backward pass.
    mixed = []
    for begin in range(0, q.shape[2], CHUNK):
        end = begin + CHUNK
        scores = _products(q[:, :, begin:end], k[:, :, :end]).float() * q.shape[3] ** -0.5
        weights = (scores + mask[begin:end, :end]).softmax(-1).to(v.dtype)
        mixed.append(matmul(weights, v[:, :, :end]))
    return torch.cat(mixed, dim=2)


class _Products(torch.autograd.Function):
    """Every query by every key. Torch's own backward pass gives the gradient of keys turned round: each part of it
    would be turned back as it is added to the others, 4% of a step of 60m."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor) -> Tensor:
        ctx.save_for_backward(q, k)
        return matmul(q, k.transpose(-1, -2))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        q, k = ctx.saved_tensors
        return matmul(gradient, k), matmul(gradient.transpose(-1, -2), q)


def _products(q: Tensor, k: Tensor) -> Tensor:
    products: Tensor = _Products.apply(q, k)  # type: ignore[no-untyped-call]
    return products


def causal_bias(length: int) -> Tensor:
    """Return what is added to the scores of short causal text, (length, length): nothing, or minus infinity.

    Made outside of the compiled blocks: comparing positions inside takes longer than the products.
    """
    return torch.full((length, length), float("-inf")).triu(1)


def rotary(length: int, head_dim: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosine and sine, each (length, head_dim) in fp32, of the angle each pair of a head is turned by."""
    frequencies = 1.0 / theta ** (torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn x (batch, heads, seq, head_dim) by position; the pairs are (i, i + head_dim / 2). The result is fp32."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
