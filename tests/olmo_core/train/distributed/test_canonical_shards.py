"""Strict mode in one process: shards, the order of the sums, and ranks that exchange what they have."""

import threading
from collections.abc import Callable
from queue import Queue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from olmo_core.train.distributed import strict
from olmo_core.train.distributed.strict import CanonicalShards, added

WIDTH = 3


class Weights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(WIDTH))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)


class World:
    """Ranks as threads, and the messages between them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.here = threading.local()
        self.lines: dict[tuple[int, int], Queue[Tensor]] = {
            (sender, receiver): Queue() for sender in range(size) for receiver in range(size)
        }
        self.exchanges: list[tuple[int, int]] = []

    def rank_and_world(self) -> tuple[int, int]:
        return self.here.rank, self.size

    def isend(self) -> None: ...

    def irecv(self) -> None: ...

    def P2POp(self, operation: Callable[..., None], tensor: Tensor, peer: int) -> Any:  # noqa: N802 (torch's name)
        return SimpleNamespace(sends=operation == self.isend, tensor=tensor, peer=peer)

    def batch_isend_irecv(self, operations: list[Any]) -> list[Any]:
        rank = self.here.rank
        for each in operations:
            if each.sends:
                self.exchanges.append((rank, each.peer))
                self.lines[rank, each.peer].put(each.tensor.clone())
        taken = [each for each in operations if not each.sends]
        return [
            SimpleNamespace(wait=lambda each=each: each.tensor.copy_(self.lines[each.peer, rank].get(timeout=30)))
            for each in taken
        ]

    def run(self, work: Callable[[], Any]) -> list[Any]:
        results: list[Any] = [None] * self.size

        def of_rank(rank: int) -> None:
            self.here.rank = rank
            results[rank] = work()

        threads = [threading.Thread(target=of_rank, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def accumulated(values: Tensor, shards: int, world: World) -> list[tuple[Tensor, Tensor]]:
    """What each rank has in the end: sums and gradient, of rows (rows, WIDTH) whose gradient is the row itself."""

    def work() -> tuple[Tensor, Tensor]:
        model = Weights()
        canonical = CanonicalShards(model, shards)
        own = values[world.here.rank :: world.size]

        def backward(part: slice) -> Tensor:
            rows = own[part]
            (rows * model.weight).sum().backward()  # type: ignore[no-untyped-call]
            return rows.sum(0)

        sums = canonical.accumulate(len(own), backward)
        assert model.weight.grad is not None and model.frozen.grad is None
        return sums, model.weight.grad

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict, "rank_and_world", world.rank_and_world)
        patch.setattr(strict, "dist", world)
        return world.run(work)


def tree(parts: list[np.ndarray]) -> np.ndarray:
    """The binary tree by its definition: halves are added to each other until one is left."""
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [parts[number] + parts[number + half] for number in range(half)]
    return parts[0]


def rows_of(seed: int, count: int) -> Tensor:
    """Numbers of very different sizes, whose sum in fp32 depends on the order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, generator=generator) * 10.0 ** torch.randint(
        -4, 5, (count, WIDTH), generator=generator
    )


@settings(max_examples=15)
@given(st.integers(0, 2**30), st.sampled_from([1, 2, 4, 8]))
def test_sums_follow_the_binary_tree_to_the_bit(seed: int, shards: int) -> None:
    values = rows_of(seed, 2 * shards)
    [(sums, gradient)] = accumulated(values, shards, World(1))
    parts = [values[number::shards].sum(0).numpy() for number in range(shards)]
    assert sums.numpy().tobytes() == tree(parts).tobytes()
    assert np.allclose(gradient.numpy(), sums.numpy(), rtol=1e-5)


def test_order_of_these_sums_would_show() -> None:
    """The numbers above give other bits where shards are added one after the other."""
    differing = 0
    for seed in range(20):
        parts = list(rows_of(seed, 8).numpy())
        differing += tree(parts).tobytes() != np.add.accumulate(parts)[-1].tobytes()
    assert differing > 10


@pytest.mark.parametrize("size", [2, 4, 8])
def test_any_number_of_ranks_gets_the_bits_of_one(size: int) -> None:
    values = rows_of(size, 16)
    [(alone, alone_gradient)] = accumulated(values, 8, World(1))
    for sums, gradient in accumulated(values, 8, World(size)):
        assert torch.equal(sums, alone)
        assert torch.equal(gradient, alone_gradient)


def test_rank_exchanges_with_one_other_at_each_level() -> None:
    world = World(4)
    accumulated(rows_of(1, 8), 4, world)
    partners = {rank: {to for sender, to in world.exchanges if sender == rank} for rank in range(4)}
    assert partners == {0: {2, 1}, 1: {3, 0}, 2: {0, 3}, 3: {1, 2}}


def test_gradients_of_the_step_before_are_not_counted_again() -> None:
    model = Weights()
    canonical = CanonicalShards(model, 2)

    def backward(part: slice) -> Tensor:
        model.weight.sum().backward()  # type: ignore[no-untyped-call]
        return torch.ones(1)

    for _ in range(2):
        canonical.accumulate(2, backward)
        assert model.weight.grad is not None and model.weight.grad.tolist() == [2.0] * WIDTH
        model.weight.grad = None  # as the optimizer leaves it


@pytest.mark.parametrize(("shards", "rows"), [(1, 5), (2, 6), (4, 12), (4, 4)])
def test_shards_are_every_nth_row_of_the_share(shards: int, rows: int) -> None:
    parts = CanonicalShards(Weights(), shards).parts(rows)
    assert [list(range(rows))[part] for part in parts] == [list(range(n, rows, shards)) for n in range(shards)]


def test_sum_takes_the_place_of_the_first() -> None:
    totals, others = [torch.ones(2), torch.ones(1)], [torch.full((2,), 3.0), torch.full((1,), 5.0)]
    found = added(totals, others)
    assert found is totals
    assert [each.tolist() for each in totals] == [[4.0, 4.0], [6.0]]
    assert [each.tolist() for each in others] == [[3.0, 3.0], [5.0]]
