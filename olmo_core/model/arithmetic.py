"""Matrix products, computed with the fastest kernels of the machine.

A bf16 product rounds its operands to bf16 and sums in fp32 or better. GPUs and CPUs with AVX-512 or AMX have kernels
for it. On other CPUs, torch falls back to a plain loop: 0.4 to 8 GFLOP/s on a core that reaches 70 in fp32. There, this
module multiplies the same rounded operands in fp32. Each product of two numbers is then exact, so only the order of the
sums differs. Autograd of the two casts rounds gradients in the same way.

The choice depends on the machine's capabilities, never on a timing, so a machine always gives the same bits.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Both depend on ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY, which torch reads when it is loaded.
NATIVE_BF16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
# MKL uses AVX-512 only on Intel CPUs: 108 GFLOP/s against oneDNN's 245 on a Zen 5 core. With AVX2, both are equally
# fast forward, and MKL is a third faster for weight gradients (86 against 62 on a Zen 3 core).
ONEDNN_FP32: bool = torch._C._has_mkldnn and torch.backends.cpu.get_cpu_capability() == "AVX512"


class Linear(nn.Linear):
    """A linear layer without bias that uses the products of this module."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width_in) to (..., width_out)."""
        return linear(x, self.weight)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return `x` (..., k) @ `weight`.T (k, n): (..., n), in autocast's dtype if autocast is on."""
    if x.device.type != "cpu":
        return F.linear(x, weight)
    if torch.is_autocast_enabled("cpu"):
        x, weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
    return widened(_product, x, weight)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return a (..., m, k) @ b (..., k, n), in their dtype."""
    return widened(torch.matmul, a, b) if a.device.type == "cpu" else a @ b


def widened(product: Callable[..., Tensor], *operands: Tensor) -> Tensor:
    """Call `product` on the operands, in fp32 if they are bf16 and the machine has no bf16 kernels."""
    if operands[0].dtype is not torch.bfloat16 or NATIVE_BF16:
        return product(*operands)
    with torch.autocast("cpu", enabled=False):
        return product(*(each.float() for each in operands)).to(torch.bfloat16)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    if ONEDNN_FP32 and x.dtype is torch.float32:
        out: Tensor = _OneDnn.apply(x, weight)  # type: ignore[no-untyped-call]
        return out
    return F.linear(x, weight)


class _OneDnn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        out: Tensor = _onednn(x, weight)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        by_weight = _onednn(gradient.flatten(0, -2).t(), x.flatten(0, -2).t())
        return _onednn(gradient, weight.t()), by_weight


@torch.library.custom_op("olmo_core::onednn", mutates_args=())
def _onednn(x: Tensor, weight: Tensor) -> Tensor:
    """Return x @ weight.T, as a custom operator, because inductor accepts torch's only with constant weights."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return out


@_onednn.register_fake
def _onednn_shape(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))
