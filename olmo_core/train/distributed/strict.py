"""Strict mode: a batch is split into a fixed number of shards, whose gradients are summed in a fixed binary tree.

Shard `s` of `K` is every `K`-th sequence from `s` on. The tree adds shards `s` and `s + K/2`, then the sums `s` and
`s + K/4`, and so on, independent of which rank holds them: any number of ranks that divides `K` gives the same bits. A
rank holds the shards `rank, rank + world, ...`, so the lower levels need no messages, and each upper level is an
exchange with one other rank. The price is a copy of the gradients per level on a rank, and messages that do not overlap
with the backward pass.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from olmo_core.train.distributed.group import rank_and_world
from olmo_core.train.distributed.parallel import Backward


class CanonicalShards:
    """Gradient sums over the canonical shards of a batch; see `parallel.Parallel`."""

    def __init__(self, model: nn.Module, shards: int) -> None:
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._rank, self._world = rank_and_world()
        self._own = shards // self._world

    def parts(self, rows: int) -> Sequence[slice]:
        """Return the shards of this rank."""
        return [slice(number, None, self._own) for number in range(self._own)]

    def accumulate(self, rows: int, backward: Backward) -> Tensor:
        """See `Parallel`."""
        parts = self.parts(rows)

        def tree(first: int, stride: int) -> list[Tensor]:
            if stride == len(parts):
                return self._taken(backward(parts[first]))
            return added(tree(first, 2 * stride), tree(first + stride, 2 * stride))

        total = tree(0, 1)
        distance = self._world // 2
        while distance:
            total = added(total, self._exchanged(total, self._rank ^ distance))
            distance //= 2
        for parameter, gradient in zip(self._parameters, total[1:], strict=True):
            parameter.grad = gradient
        return total[0]

    def _taken(self, sums: Tensor) -> list[Tensor]:
        """Return the sums and the gradients of one shard, and clear the gradients."""
        taken = [sums]
        for parameter in self._parameters:
            assert parameter.grad is not None
            taken.append(parameter.grad)
            parameter.grad = None
        return taken

    def _exchanged(self, tensors: list[Tensor], partner: int) -> list[Tensor]:
        """Exchange these tensors with the partner's and return the partner's."""
        received = [torch.empty_like(tensor) for tensor in tensors]
        exchange = [
            dist.P2POp(operation, tensor, partner)
            for sent, taken in zip(tensors, received, strict=True)
            for operation, tensor in ((dist.isend, sent.contiguous()), (dist.irecv, taken))
        ]
        for work in dist.batch_isend_irecv(exchange):
            work.wait()
        return received


def added(totals: list[Tensor], others: list[Tensor]) -> list[Tensor]:
    """Add `others` to `totals` in place, tensor by tensor, and return `totals`."""
    torch._foreach_add_(totals, others)
    return totals
