from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.tokens.permutation import Permutation


@given(st.integers(1, 5000), st.text(max_size=8))
def test_permutation_is_a_bijection(size: int, key: str) -> None:
    landed = Permutation(size, key)(np.arange(size))
    assert landed.dtype == np.int64
    assert np.array_equal(np.sort(landed), np.arange(size))


@given(st.integers(2**33, 2**60), st.data())
def test_huge_sizes_stay_in_range(size: int, data: st.DataObject) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=50, unique=True)))
    landed = Permutation(size, "k")(positions)
    assert len(set(landed.tolist())) == len(positions)
    assert landed.min() >= 0
    assert landed.max() < size


def test_single_element_equals_batch() -> None:
    order = Permutation(1000, "k")
    together = order(np.arange(1000))
    assert [int(order(np.array([i]))[0]) for i in range(1000)] == together.tolist()


def test_orders_of_four_are_uniform() -> None:
    # Chi-square with 23 degrees of freedom: by chance it exceeds 49.7 with probability 0.001; keys are fixed.
    counts = Counter(tuple(Permutation(4, str(key))(np.arange(4)).tolist()) for key in range(4800))
    assert len(counts) == 24
    assert sum((n - 200) ** 2 / 200 for n in counts.values()) < 49.7


def test_large_order_is_uncorrelated() -> None:
    size = 100_003
    landed = Permutation(size, "seed 1")(np.arange(size))
    # Standard deviation of the rank correlation of a random order: 1 / sqrt(size) = 0.0032.
    assert abs(np.corrcoef(np.arange(size), landed)[0, 1]) < 0.013
    assert abs(np.corrcoef(landed[:-1], landed[1:])[0, 1]) < 0.013
    # A random order has on average one fixed point and one preserved neighbour, each Poisson.
    assert np.count_nonzero(landed == np.arange(size)) < 8
    assert np.count_nonzero(np.diff(landed) == 1) < 8


def test_permutation_is_unchanged() -> None:
    # Taken from the first release of this code: a change here changes every run's data order.
    assert Permutation(10, "golden")(np.arange(10)).tolist() == [9, 6, 8, 4, 1, 2, 0, 5, 3, 7]


def test_position_outside_range_is_refused() -> None:
    with pytest.raises(IndexError, match=r"outside 0\.\.9"):
        Permutation(10, "k")(np.array([10]))
    with pytest.raises(IndexError):
        Permutation(10, "k")(np.array([-1]))
    for size in (0, 2**60 + 1):
        with pytest.raises(ValueError, match="size from 1"):
            Permutation(size, "k")
