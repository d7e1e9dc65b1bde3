"""Cross-entropy with z-loss, computed from the final states a slice of rows at a time.

The logits of a batch are never all in memory: the gradients of a slice are computed together with its loss, in one pass
over its logits. Everything is divided by the targets of the *global* batch, so micro-batches and ranks are just summed.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from olmo_core.model.arithmetic import linear

IGNORED = -100  # the label of a position without a target
# Logits per slice, by device. On a CPU, 1024 rows of an 8k vocabulary stay in cache; a GPU needs larger products.
SLICE_LOGITS = {"cpu": 2**23, "cuda": 2**28}

SliceLoss = Callable[[Tensor, Tensor, Tensor, float, float], tuple[Tensor, Tensor, Tensor, Tensor]]


def shifted_labels(tokens: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return the labels (batch, seq) of token ids (batch, seq): the next token, and `IGNORED` at the last position.

    Args:
        tokens: ids, (batch, seq).
        targets: which tokens to predict, bool (batch, seq); all when None.
    """
    named = tokens if targets is None else tokens.masked_fill(~targets, IGNORED)
    return torch.cat((named[:, 1:], torch.full_like(tokens[:, :1], IGNORED)), dim=1)


def head_loss(
    states: Tensor, weight: Tensor, labels: Tensor, targets: int, z_loss: float, slice_loss: SliceLoss
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (loss to differentiate, cross-entropy, squared log-normaliser), each a sum over rows divided by `targets`.

    Args:
        states: (rows, d_model); products use its dtype.
        weight: weight of the head, (vocab, d_model), fp32.
        labels: (rows,) ids, or `IGNORED`.
        targets: number of targets in the global batch.
        z_loss: weight of the squared log-normaliser in the loss.
        slice_loss: `slice_loss` below, or its compiled form.
    """
    loss: tuple[Tensor, Tensor, Tensor] = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        states, weight, labels, targets, z_loss, slice_loss
    )
    return loss


def slice_loss(
    states: Tensor, weight: Tensor, labels: Tensor, scale: float, z_loss: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the scaled sums over rows (cross-entropy, squared log-normaliser), and gradients of states and weight."""
    logits = linear(states, weight).float()
    labels = labels.unsqueeze(1)
    share = (labels != IGNORED) * scale
    log_normaliser = logits.logsumexp(dim=1, keepdim=True)
    cross_entropy = (log_normaliser - logits.gather(1, labels.clamp(min=0))) * share
    squared = log_normaliser.square() * share
    # d/dlogits: softmax * (1 + 2 z log_normaliser) from the log-normaliser, minus one at the label.
    gradient = (logits - log_normaliser).exp() * (share * (1 + 2 * z_loss * log_normaliser))
    at_label = torch.arange(logits.shape[1], device=logits.device, dtype=torch.int32) == labels.int()
    gradient = torch.where(at_label, gradient - share, gradient).to(states.dtype)
    return cross_entropy.sum(), squared.sum(), linear(gradient, weight.t()), linear(gradient.t(), states.t())


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, labels: Tensor, targets: int, z_loss: float, slice_loss: SliceLoss
    ) -> tuple[Tensor, Tensor, Tensor]:
        cast = weight.to(states.dtype)
        states_grad = torch.empty_like(states)
        weight_grad: Tensor | None = None  # no zeros up front: they would be in memory with the first slice's logits
        cross_entropy = squared = torch.zeros((), device=states.device)
        slices = math.ceil(states.shape[0] * weight.shape[0] / SLICE_LOGITS[states.device.type])
        rows = math.ceil(states.shape[0] / slices)
        for begin in range(0, states.shape[0], rows):
            part = slice(begin, begin + rows)
            part_ce, part_sq, by_states, by_weight = slice_loss(states[part], cast, labels[part], 1.0 / targets, z_loss)
            cross_entropy, squared = cross_entropy + part_ce, squared + part_sq
            states_grad[part] = by_states
            weight_grad = by_weight.to(weight.dtype) if weight_grad is None else weight_grad.add_(by_weight)
        ctx.save_for_backward(states_grad, weight_grad)
        ctx.mark_non_differentiable(cross_entropy, squared)
        return cross_entropy + z_loss * squared, cross_entropy, squared

    @staticmethod
    def backward(ctx: Any, loss_grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        states_grad, weight_grad = ctx.saved_tensors
        return states_grad.mul_(loss_grad), weight_grad.mul_(loss_grad), None, None, None, None
