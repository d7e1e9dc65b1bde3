from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.tokens.permutation import Permutation


@given(st.integers(1, 5000), st.text(max_size=8))
def test_every_element_is_hit_once(size: int, key: str) -> None:
    landed = Permutation(size, key)(np.arange(size))
    assert landed.dtype == np.int64
    assert np.array_equal(np.sort(landed), np.arange(size))


@given(st.integers(2**33, 2**60), st.data())
def test_huge_sizes_need_no_table_and_stay_inside(size: int, data: st.DataObject) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=50, unique=True)))
    landed = Permutation(size, "k")(positions)
    assert len(set(landed.tolist())) == len(positions)
    assert landed.min() >= 0
    assert landed.max() < size


def test_an_element_alone_lands_where_it_lands_in_company() -> None:
    order = Permutation(1000, "k")
    together = order(np.arange(1000))
    assert [int(order(np.array([i]))[0]) for i in range(1000)] == together.tolist()


def test_all_orders_of_four_are_equally_likely() -> None:
    # Chi-square with 23 degrees of freedom: 49.7 is passed with probability 0.001 by chance; keys are fixed.
    counts = Counter(tuple(Permutation(4, str(key))(np.arange(4)).tolist()) for key in range(4800))
    assert len(counts) == 24
    assert sum((n - 200) ** 2 / 200 for n in counts.values()) < 49.7


def test_a_large_order_keeps_no_trace_of_the_old_one() -> None:
    size = 100_003
    landed = Permutation(size, "seed 1")(np.arange(size))
    # Standard deviation of the rank correlation of a random order: 1 / sqrt(size) = 0.0032.
    assert abs(np.corrcoef(np.arange(size), landed)[0, 1]) < 0.013
    assert abs(np.corrcoef(landed[:-1], landed[1:])[0, 1]) < 0.013
    # A random order has one fixed point and one neighbour kept on average, each Poisson.
    assert np.count_nonzero(landed == np.arange(size)) < 8
    assert np.count_nonzero(np.diff(landed) == 1) < 8


def test_the_order_is_the_same_on_every_machine() -> None:
    # Written down from the first release of this code: a change here changes every run's data order.
    assert Permutation(10, "golden")(np.arange(10)).tolist() == [9, 6, 8, 4, 1, 2, 0, 5, 3, 7]


def test_outside_is_refused() -> None:
    with pytest.raises(IndexError, match=r"outside 0\.\.9"):
        Permutation(10, "k")(np.array([10]))
    with pytest.raises(IndexError):
        Permutation(10, "k")(np.array([-1]))
    for size in (0, 2**60 + 1):
        with pytest.raises(ValueError, match="size from 1"):
            Permutation(size, "k")
