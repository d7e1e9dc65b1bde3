"""Signatures agree as often as texts do, and clusters are those of a plain union of pairs."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.documents.filters.ngrams import ngram_hashes
from olmo_core.documents.minhash import MinHashConfig, band_hashes
from olmo_core.documents.near_duplicates import clusters, near_duplicates

ONE_ROW = MinHashConfig(ngram=1, bands=2000, rows=1)


def test_share_of_equal_hashes_is_the_jaccard_similarity() -> None:
    words = [f"w{number}" for number in range(300)]
    for common in (0, 100, 200):
        one, other = words[:200], words[200 - common : 400 - common]
        jaccard = len({*one} & {*other}) / len({*one} | {*other})
        agree = float(np.mean(band_hashes(" ".join(one), ONE_ROW) == band_hashes(" ".join(other), ONE_ROW)))
        assert abs(agree - jaccard) < 0.05, "2,000 functions: a standard deviation is at most 0.011"


def test_band_agrees_only_if_all_its_rows_do() -> None:
    words = [f"w{number}" for number in range(400)]
    random.Random(1).shuffle(words)
    one, other = " ".join(words[:300]), " ".join(words[50:350])  # J = 250 / 350
    for rows in (1, 2, 4):
        config = MinHashConfig(ngram=1, bands=2000, rows=rows)
        agree = float(np.mean(band_hashes(one, config) == band_hashes(other, config)))
        assert abs(agree - (250 / 350) ** rows) < 0.05


@pytest.mark.parametrize("same", ["The  sea, the SEA!", "the sea the sea", "THE SEA\n\tTHE (SEA)."])
def test_case_space_and_punctuation_do_not_matter(same: str) -> None:
    config = MinHashConfig()
    assert band_hashes(same, config).tolist() == band_hashes("The sea, the sea.", config).tolist()
    assert band_hashes("the sea the see", config).tolist() != band_hashes(same, config).tolist()


def test_hashes_of_words_are_the_same_everywhere() -> None:
    assert band_hashes("one two three four five six", MinHashConfig(bands=2)).tolist() == GOLDEN
    assert band_hashes("one two three four five six", MinHashConfig(bands=2, seed=2)).tolist() != GOLDEN


def test_ngrams_have_an_order() -> None:
    assert len(ngram_hashes(["a", "b", "c"], 2)) == 2
    assert ngram_hashes(["a", "b"], 2)[0] != ngram_hashes(["b", "a"], 2)[0]
    assert ngram_hashes(["a", "b", "c"], 2)[1] == ngram_hashes(["b", "c"], 2)[0]


def test_texts_without_words_are_equal_to_each_other_only() -> None:
    config = MinHashConfig()
    empty, marks, word = (band_hashes(text, config).tolist() for text in ("", "?!", "a"))
    assert empty == marks != word


def test_long_text_is_hashed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"w{number % 37}" for number in range(500))
    whole = band_hashes(text, MinHashConfig()).tolist()
    monkeypatch.setattr("olmo_core.documents.minhash._AT_ONCE", 7)
    assert band_hashes(text, MinHashConfig()).tolist() == whole


def by_union(rows: list[list[int]]) -> list[int]:
    """The first document of each cluster, by joining pairs until nothing changes."""
    first = list(range(len(rows)))
    changed = True
    while changed:
        changed = False
        for a, one in enumerate(rows):
            for b, other in enumerate(rows):
                if any(x == y for x, y in zip(one, other, strict=True)) and first[a] != first[b]:
                    first[a] = first[b] = min(first[a], first[b])
                    changed = True
    return first


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(st.integers(0, 9), min_size=n, max_size=n), max_size=12)))
def test_clusters_are_all_documents_connected_by_bands(rows: list[list[int]]) -> None:
    signatures = np.array(rows, dtype=np.uint64).reshape(len(rows), -1 if rows else 1)
    expected = by_union(rows)
    assert clusters(signatures).tolist() == expected
    assert near_duplicates(signatures).tolist() == [first != row for row, first in enumerate(expected)]


def test_long_chain_is_one_cluster() -> None:
    chain = np.array([[number // 2, 10_000 + (number + 1) // 2] for number in range(3000)], dtype=np.uint64)
    order = np.random.default_rng(0).permutation(3000)
    assert set(clusters(chain[order])) == {0}


# By this code; they must not change without a version of `signatures`.
GOLDEN = [17657921348272654838, 11098972310918395154]
