"""How ranks share a run: every rank holds all weights, or a part of them.

In both cases, a rank processes its share of a batch, and gradients are summed over ranks. `trainer` defines the step;
`strict` sums in an order that does not depend on the number of ranks.
"""

import os
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard

from olmo_core.model.transformer import Transformer
from olmo_core.train.distributed.group import rank_and_world
from olmo_core.train.placement import TrainPlacement

Backward = Callable[[slice], Tensor]


class Parallel(Protocol):
    """Sums gradients over the parts of a rank's share and over the ranks."""

    def parts(self, rows: int) -> Sequence[slice]:
        """Return the rows of each forward pass over a share of `rows` rows."""

    def accumulate(self, rows: int, backward: Backward) -> Tensor:
        """Accumulate the gradients of all rows of all ranks.

        Args:
            rows: number of sequences in this rank's share.
            backward: adds the gradients of a slice of rows to the existing ones; returns sums over these rows.

        Returns:
            The results of `backward`, summed over all rows of all ranks.
        """


def micro_batches(rows: int, size: int | None) -> list[slice]:
    """Return consecutive slices of at most `size` rows, or one slice of all rows."""
    return [slice(begin, min(begin + (size or rows), rows)) for begin in range(0, rows, size or rows)]


class Replicas:
    """All weights on every rank. Each gradient is summed over the ranks as soon as the backward pass has finished it.

    Each gradient is one message, in the order of the backward pass. DistributedDataParallel packs gradients into
    buckets and rearranges them after the first step. A resumed run would then sum in another order than one that never
    stopped, and with three or more ranks get different bits.
    """

    def __init__(self, model: nn.Module, micro_batch: int | None) -> None:
        self._micro_batch = micro_batch
        self._last = False
        self._messages: list[dist.Work] = []
        if rank_and_world()[1] > 1:
            for parameter in model.parameters():
                parameter.register_post_accumulate_grad_hook(self._send)  # type: ignore[no-untyped-call]

    def parts(self, rows: int) -> list[slice]:
        """Return micro-batches."""
        return micro_batches(rows, self._micro_batch)

    def accumulate(self, rows: int, backward: Backward) -> Tensor:
        """See `Parallel`."""
        *first, last = self.parts(rows)
        seen = [backward(part) for part in first]
        self._last = True
        seen.append(backward(last))
        self._last = False
        for message in self._messages:
            message.wait()
        self._messages.clear()
        return summed(torch.stack(seen).sum(0))

    def _send(self, parameter: Tensor) -> None:
        if self._last:
            assert parameter.grad is not None
            work = dist.all_reduce(parameter.grad, async_op=True)
            assert work is not None
            self._messages.append(work)


class Shards:
    """A part of each weight, gradient and moment on every rank (FSDP2); a hybrid mesh holds all parts on every host."""

    def __init__(self, model: Transformer, mesh: DeviceMesh, micro_batch: int | None) -> None:
        self._micro_batch = micro_batch
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        self._model = fully_shard(model, mesh=mesh)
        register_fsdp_forward_method(model, "states")
        for module in model.modules():
            if isinstance(module, FSDPModule):
                # The loss is already divided by the targets of the global batch, so gradients are summed, not averaged.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def parts(self, rows: int) -> list[slice]:
        """Return micro-batches."""
        return micro_batches(rows, self._micro_batch)

    def accumulate(self, rows: int, backward: Backward) -> Tensor:
        """See `Parallel`. Shards are summed after every micro-batch, so that no rank ever holds a whole gradient."""
        parts = self.parts(rows)
        seen = []
        for number, part in enumerate(parts, 1):
            self._model.set_requires_all_reduce(number == len(parts))
            seen.append(backward(part))
        return summed(torch.stack(seen).sum(0))


def summed(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks."""
    if rank_and_world()[1] > 1:
        dist.all_reduce(values)
    return values


def sharers(placement: TrainPlacement) -> int:
    """Return how many ranks share one copy of the weights."""
    world = rank_and_world()[1]
    if placement.sharding == "replicate":
        return 1
    return world if placement.sharding == "shard" else int(os.environ.get("LOCAL_WORLD_SIZE", world))


def mesh_of(placement: TrainPlacement, device: torch.device) -> DeviceMesh | None:
    """Return the mesh over which weights are sharded, replicas first if hybrid; None if they are not sharded.

    Raises:
        ValueError: there is no process group, or the hosts have different numbers of ranks.
    """
    if placement.sharding == "replicate":
        return None
    if not dist.is_initialized():
        raise ValueError(f"placement.sharding is {placement.sharding}, but this is a single process; use replicate")
    world, host = dist.get_world_size(), sharers(placement)
    if placement.sharding == "shard":
        return init_device_mesh(device.type, (world,), mesh_dim_names=("shard",))
    if world % host:
        raise ValueError(
            f"placement.sharding is hybrid, but {world} ranks do not fill whole hosts of {host}; use shard or replicate"
        )
    return init_device_mesh(device.type, (world // host, host), mesh_dim_names=("replicate", "shard"))


def initialize(model: Transformer, seed: int) -> None:
    """Draw the first weights, the same ones for every sharding; if sharded, rank 0 draws and broadcasts them.

    They are drawn on the CPU, so that they do not depend on the device.
    """
    generator = torch.Generator().manual_seed(seed)
    if not isinstance(model, FSDPModule):
        device = model.head.weight.device
        model.to("cpu").initialize(generator).to(device)
        return
    rank, _ = rank_and_world()
    drawn = Transformer(model.config).initialize(generator) if rank == 0 else None
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            held = local(parameter)
            whole = torch.empty(parameter.shape, device=held.device)
            if drawn is not None:
                whole.copy_(drawn.get_parameter(name))
            dist.broadcast(whole, 0)
            held.copy_(whole[held_rows(parameter)])


def held_rows(tensor: Tensor) -> slice:
    """Return the range of rows of a tensor that this rank holds."""
    if not isinstance(tensor, DTensor):
        return slice(0, tensor.shape[0])
    coordinate = tensor.device_mesh.get_coordinate()
    assert coordinate is not None
    dimension = tensor.placements.index(Shard(0))
    return _chunk(slice(0, tensor.shape[0]), coordinate[dimension], tensor.device_mesh.size(dimension))


def written_rows(tensor: Tensor) -> slice:
    """Return the range of rows of a tensor that this rank writes into a checkpoint; one rank writes each row."""
    if not isinstance(tensor, DTensor):
        return _chunk(held_rows(tensor), *rank_and_world())
    coordinate = tensor.device_mesh.get_coordinate()
    assert coordinate is not None
    if tensor.device_mesh.ndim == 1:
        return held_rows(tensor)
    return _chunk(held_rows(tensor), coordinate[0], tensor.device_mesh.size(0))


def local(tensor: Tensor) -> Tensor:
    """Return the rows of a tensor that this rank holds; the same memory, not a copy."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _chunk(rows: slice, number: int, count: int) -> slice:
    """Return one of `count` consecutive parts, split like `torch.chunk`; the last ones may be shorter or empty."""
    size = -(-(rows.stop - rows.start) // count)
    return slice(min(rows.start + number * size, rows.stop), min(rows.start + (number + 1) * size, rows.stop))
