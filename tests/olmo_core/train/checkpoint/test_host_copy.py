from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from olmo_core.train.checkpoint.host_copy import HostCopy, _copy, _shares


def test_copy_reuses_memory_and_ignores_later_changes() -> None:
    state = {"a": torch.randn(7, 3), "none": torch.zeros(0, 3), "count": torch.tensor([2**40])}
    copies = HostCopy(state)
    copies.touch()
    first = copies.take(state)
    places = {name: each.data_ptr() for name, each in first.items()}
    expected = {name: each.clone() for name, each in state.items()}
    state["a"].zero_()
    assert all(torch.equal(first[name], each) for name, each in expected.items())
    second = copies.take(state)
    assert {name: each.data_ptr() for name, each in second.items()} == places
    assert not second["a"].any()


def test_moved_tensors_are_copied_from_new_address() -> None:
    copies = HostCopy({"a": torch.zeros(100)})
    for value in range(3):
        moved = torch.full((100,), float(value))
        assert torch.equal(copies.take({"a": moved})["a"], moved)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_touching_memory_starts_no_openmp_threads() -> None:
    """A second team of OpenMP threads makes those of the training step sleep between kernels."""
    copies = HostCopy({"a": torch.zeros(2**20)})

    def started() -> set[str]:
        before = {task.name for task in Path("/proc/self/task").iterdir()}
        copies.touch()
        return {task.name for task in Path("/proc/self/task").iterdir()} - before

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(started).result() == set()
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_any_number_of_threads_copies_everything(threads: int) -> None:
    sizes = [5, 0, 1, 30, 7]
    pairs = [(np.zeros(size, np.uint8), np.arange(1, size + 1, dtype=np.uint8)) for size in sizes]
    shares = _shares(pairs, threads)
    assert len(shares) == threads
    assert max(sum(len(target) for target, _ in share) for share in shares) == -(-sum(sizes) // threads)
    for share in shares:
        _copy(share)
    assert all((target == source).all() for target, source in pairs)


def test_nothing_to_copy_gives_empty_shares() -> None:
    assert _shares([], 2) == [[], []]
