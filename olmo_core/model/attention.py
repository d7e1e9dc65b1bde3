"""Causal self-attention of a block: projections, rotary positions, and two ways to compute attention.

Torch's kernel handles any text. For short causal text on a CPU, a plain matrix product is three times as fast. `Mask`
selects between the two; it is made once, outside the blocks, because these may be compiled.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from olmo_core.model.arithmetic import Linear, matmul, widened
from olmo_core.model.config import ModelConfig
from olmo_core.model.norm import norm

# Up to this many tokens, the plain product beats torch's CPU attention kernel: forward and backward take 8.4 ms instead
# of 30 for 20 heads of 512 x 64, and 3.1 ms instead of 9.5 for 24 heads of 256 x 64, in bf16 on 2 cores. For longer
# text, the scores need too much memory.
SHORT = 512
CHUNK = 128  # Queries per product. Keys after the last query are skipped: 3 of 8 scores for 512 tokens.

Rotation = tuple[Tensor, Tensor]  # cosine and sine, fp32; each broadcasts to (batch, heads, seq, head_dim)


class Mask(NamedTuple):
    """Which keys a query may read: those that `readable` allows, or without it, those up to the query's position.

    Attributes:
        readable: True where a query may read a key, bool (batch, 1, seq, seq); None for causal text.
        causal_bias: bias that `short_causal_attention` adds to scores, (seq, seq); None if torch's kernel is used.
    """

    readable: Tensor | None
    causal_bias: Tensor | None

    @classmethod
    def of(cls, tokens: Tensor, readable: Tensor | None = None) -> "Mask":
        """Return the mask for ids (batch, seq); it selects the plain product for short causal text on a CPU."""
        length = tokens.shape[1]
        short = readable is None and tokens.device.type == "cpu" and length <= SHORT
        return cls(readable, causal_bias(length) if short else None)


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

    def forward(self, x: Tensor, rotation: Rotation, mask: Mask) -> Tensor:
        """Map (batch, seq, d_model) to the same shape; each position reads the keys that `mask` allows."""
        v = self._clipped(self.w_v(x))
        q = rotate(self._heads(self.q_norm(self._clipped(self.w_q(x)))), rotation).to(v.dtype)
        k = rotate(self._heads(self.k_norm(self._clipped(self.w_k(x)))), rotation).to(v.dtype)
        v = self._heads(v)
        if self.group > 1:
            k, v = (t.repeat_interleave(self.group, dim=1) for t in (k, v))
        if mask.causal_bias is not None:
            mixed = short_causal_attention(q, k, v, mask.causal_bias)
        else:
            mixed = torch_attention(q, k, v, mask.readable)
        out: Tensor = self.w_out(mixed.transpose(1, 2).flatten(2))
        return out

    def _clipped(self, x: Tensor) -> Tensor:
        return x if self.clip is None else x.clamp(-self.clip, self.clip)

    def _heads(self, x: Tensor) -> Tensor:
        """Reshape (batch, seq, heads * head_dim) to (batch, heads, seq, head_dim)."""
        return x.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)


def torch_attention(q: Tensor, k: Tensor, v: Tensor, readable: Tensor | None) -> Tensor:
    """Compute attention with torch's kernel; q, k, v and the result are (batch, heads, seq, head_dim).

    Args:
        q: queries.
        k: keys.
        v: values.
        readable: True where a query may read a key, bool (batch, 1, seq, seq); None for causal text.
    """

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=readable, is_causal=readable is None)

    return widened(attend, q, k, v) if q.device.type == "cpu" else attend(q, k, v)


def short_causal_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Compute causal attention with plain products; q, k, v and the result are (batch, heads, seq, head_dim).

    Args:
        q: queries.
        k: keys.
        v: values.
        bias: `causal_bias(seq)`.
    """
    q, k, v = (each.contiguous() for each in (q, k, v))  # so that slices are views, not copies kept for backward
    mixed = []
    for begin in range(0, q.shape[2], CHUNK):
        end = begin + CHUNK
        scores = _products(q[:, :, begin:end], k[:, :, :end]).float() * q.shape[3] ** -0.5
        weights = (scores + bias[begin:end, :end]).softmax(-1).to(v.dtype)
        mixed.append(matmul(weights, v[:, :, :end]))
    return torch.cat(mixed, dim=2)


def causal_bias(length: int) -> Tensor:
    """Return the bias for the scores of short causal text, (length, length): zero, or minus infinity where masked.

    Called outside the compiled blocks, because comparing positions inside takes longer than the products.
    """
    return torch.full((length, length), float("-inf")).triu(1)


def rotary(length: int, head_dim: int, theta: float, device: torch.device) -> Rotation:
    """Return cosine and sine, each (length, head_dim) in fp32, of the angle by which each pair of a head is rotated."""
    frequencies = 1.0 / theta ** (torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate x (batch, heads, seq, head_dim) by position, in pairs (i, i + head_dim / 2). The result is fp32."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class _Products(torch.autograd.Function):
    """Scores of all queries and keys. Torch's own backward pass returns the gradient of the keys transposed, and each
    chunk would be transposed back when it is added to the others: 4% of a step of 60m."""

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
