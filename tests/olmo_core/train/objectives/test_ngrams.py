import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.train.objectives.language_modelling import NgramFilterConfig
from olmo_core.train.objectives.ngrams import repeats


def most_repeats(row: list[int], n: int) -> int:
    """Return the most consecutive repetitions of one n-gram, counted from every position."""
    best = 0
    for begin in range(len(row) - n + 1):
        gram, count = row[begin : begin + n], 0
        while row[begin + count * n : begin + (count + 1) * n] == gram:
            count += 1
        best = max(best, count)
    return best


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=24, max_size=24), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(2, 6),
)
def test_repeats_match_plain_counting(rows: list[list[int]], max_ngram: int, max_repeats: int) -> None:
    found = repeats(np.array(rows), NgramFilterConfig(max_ngram=max_ngram, max_repeats=max_repeats))
    assert found.tolist() == [any(most_repeats(row, n) >= max_repeats for n in range(1, max_ngram + 1)) for row in rows]


@pytest.mark.parametrize(("times", "found"), [(31, False), (32, True)])
def test_official_limits_find_32_repeats(times: int, found: bool) -> None:
    row = np.arange(1000, 2024)
    row[100 : 100 + 13 * times] = np.tile(np.arange(13), times)
    assert repeats(row[None], NgramFilterConfig()).tolist() == [found]


def test_instance_shorter_than_ngram_is_accepted() -> None:
    assert repeats(np.array([[1, 1, 1], [1, 2, 3]]), NgramFilterConfig(max_repeats=3)).tolist() == [True, False]
