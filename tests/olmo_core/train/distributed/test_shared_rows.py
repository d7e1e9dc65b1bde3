"""Which rows of a weight a rank holds and writes, against torch's own account of sharded tensors.

The ranks are those of a process group without processes: shapes and coordinates are real, messages are not.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.testing._internal.distributed.fake_pg import FakeStore

from olmo_core.train.distributed.group import rank_and_world
from olmo_core.train.distributed.parallel import (
    _chunk,
    held_rows,
    local,
    mesh_of,
    micro_batches,
    sharers,
    summed,
    written_rows,
)
from olmo_core.train.placement import TrainPlacement

CPU = torch.device("cpu")


@contextmanager
def rank_of(world: int, rank: int) -> Iterator[None]:
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()


def sharded(rows: int, mesh: DeviceMesh) -> DTensor:
    """A weight of so many rows in the form that FSDP gives it on this rank."""
    placements = [*(Replicate() for _ in range(mesh.ndim - 1)), Shard(0)]
    (held, width), _ = compute_local_shape_and_global_offset((rows, 3), mesh, placements)
    shape, stride = torch.Size((rows, 3)), (3, 1)
    return DTensor.from_local(torch.zeros(held, width), mesh, placements, run_check=False, shape=shape, stride=stride)


@settings(max_examples=50)
@given(st.integers(0, 40), st.integers(1, 12))
def test_rows_are_cut_as_torch_cuts_them(rows: int, count: int) -> None:
    whole = torch.arange(rows)
    ours = [_chunk(slice(0, rows), number, count) for number in range(count)]
    theirs = [part.tolist() for part in torch.chunk(whole, count)] if rows else []
    theirs += [[] for _ in range(count - len(theirs))]
    assert [whole[part].tolist() for part in ours] == theirs


@settings(max_examples=50)
@given(st.integers(1, 64), st.none() | st.integers(1, 70))
def test_micro_batches_are_full_but_for_the_last(rows: int, size: int | None) -> None:
    parts = micro_batches(rows, size)
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
    assert parts[-1].stop == rows
    lengths = [part.stop - part.start for part in parts]
    assert set(lengths[:-1]) <= {size or rows} and 0 < lengths[-1] <= (size or rows)


@pytest.mark.parametrize(("world", "host"), [(4, 4), (4, 2), (8, 2), (6, 3)])
@pytest.mark.parametrize("rows", [1, 5, 8, 51])
def test_each_row_of_a_sharded_weight_is_written_once(
    world: int, host: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(host))
    placement = TrainPlacement(sharding="shard" if host == world else "hybrid")
    written: list[int] = []
    for rank in range(world):
        with rank_of(world, rank):
            mesh = mesh_of(placement, CPU)
            assert mesh is not None
            weight = sharded(rows, mesh)
            held, wrote = held_rows(weight), written_rows(weight)
            (size, _), (first, _) = compute_local_shape_and_global_offset((rows, 3), mesh, weight.placements)
            assert (held.stop - held.start) == size == len(local(weight))
            assert held.start == first or not size
            assert wrote.start >= held.start and wrote.stop <= held.stop, "what is written is held"
            written += range(rows)[wrote]
    assert sorted(written) == list(range(rows))


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_each_row_of_a_replicated_weight_is_written_once(world: int) -> None:
    weight, written = torch.zeros(5, 2), []
    for rank in range(world):
        with rank_of(world, rank):
            assert held_rows(weight) == slice(0, 5)
            written += range(5)[written_rows(weight)]
    assert written == list(range(5))


def test_local_rows_are_the_memory_of_the_weight() -> None:
    with rank_of(2, 1):
        mesh = mesh_of(TrainPlacement(sharding="shard"), CPU)
        assert mesh is not None
        weight = sharded(5, mesh)
        local(weight).fill_(7)
        assert weight.to_local().eq(7).all()
    plain = torch.zeros(3)
    assert local(plain) is plain


@pytest.mark.parametrize(
    ("sharding", "host", "shape", "names"),
    [("shard", 2, (4,), ("shard",)), ("hybrid", 2, (2, 2), ("replicate", "shard")), ("hybrid", 4, (1, 4), None)],
)
def test_mesh_has_replicas_first_and_shards_on_a_host(
    sharding: str, host: int, shape: tuple[int, ...], names: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(host))
    placement = TrainPlacement.model_validate({"sharding": sharding})
    with rank_of(4, 3):
        mesh = mesh_of(placement, CPU)
        assert mesh is not None and mesh.mesh.shape == shape
        assert mesh.mesh_dim_names == (names or ("replicate", "shard"))
        assert mesh.mesh.flatten().tolist() == [0, 1, 2, 3], "the ranks of one host follow each other"
        assert sharers(placement) == shape[-1]


def test_replicated_weights_need_no_mesh_and_no_group() -> None:
    assert mesh_of(TrainPlacement(), CPU) is None
    assert sharers(TrainPlacement()) == 1
    with rank_of(4, 0):
        assert mesh_of(TrainPlacement(), CPU) is None
        assert sharers(TrainPlacement()) == 1


@pytest.mark.parametrize("sharding", ["shard", "hybrid"])
def test_single_process_that_should_shard_is_refused(sharding: str) -> None:
    with pytest.raises(ValueError, match=rf"placement\.sharding is {sharding}.*replicate"):
        mesh_of(TrainPlacement.model_validate({"sharding": sharding}), CPU)


def test_ranks_that_do_not_fill_their_hosts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with rank_of(6, 0), pytest.raises(ValueError, match=r"placement\.sharding is hybrid.*\b6 ranks\b.*\b4\b"):
        mesh_of(TrainPlacement(sharding="hybrid"), CPU)


def test_hybrid_sharding_without_a_count_of_ranks_takes_one_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    with rank_of(6, 0):
        assert sharers(TrainPlacement(sharding="hybrid")) == 6


def test_lone_process_is_rank_0_of_1_and_sums_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "all_reduce", lambda *_: pytest.fail("there is nobody to ask"))
    assert rank_and_world() == (0, 1)
    values = torch.tensor([1.0, 2.0])
    assert summed(values) is values
    with rank_of(3, 2):
        assert rank_and_world() == (2, 3)
