"""Gopher's measures against a plain count of tuples, and its limits on texts made to be at them."""

from collections import Counter
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.documents.filters.gopher import GOPHER_QUALITY, GOPHER_REPETITION

few_words = st.lists(st.sampled_from(["a", "the", "sea", "…", "#1", "of", "7", "don't", "naïve"]), max_size=60)
texts = st.lists(few_words.map(" ".join) | st.text(max_size=20), max_size=6).map("\n".join)


def quality(text: str) -> dict[str, float]:
    return dict(zip(GOPHER_QUALITY.limits, GOPHER_QUALITY.measure(text), strict=True))


def repetition(text: str) -> dict[str, float]:
    return dict(zip(GOPHER_REPETITION.limits, GOPHER_REPETITION.measure(text), strict=True))


def by_tuples(text: str) -> dict[str, float]:
    """The repetition of n-grams, counted one by one."""
    words = text.split()
    whole = max(sum(len(word) for word in words), 1)
    values = {}
    for n in range(2, 11):
        grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
        counts = Counter(grams)

        def size(gram: tuple[str, ...]) -> int:
            return sum(len(word) for word in gram)

        if n <= 4:
            top, count = counts.most_common(1)[0] if counts else ((), 0)
            values[f"top_{n}gram"] = count * size(top) / whole
        else:
            covered = sum(size(gram) for gram in grams)
            values[f"repeated_{n}grams"] = sum(size(g) for g in grams if counts[g] > 1) / max(covered, 1)
    return values


@settings(deadline=None)
@given(texts)
def test_ngrams_are_those_counted_one_by_one(text: str) -> None:
    found = repetition(text)
    assert {name: value for name, value in found.items() if "gram" in name} == by_tuples(text)


@settings(deadline=None)
@given(texts)
def test_quality_is_that_counted_word_by_word(text: str) -> None:
    words, lines = text.split(), text.split("\n")
    alphabetic = [word for word in words if any(each.isalpha() for each in word)]
    symbols = [word for word in words if "#" in word or "…" in word]
    stop = [word for word in words if word in ("the", "be", "to", "of", "and", "that", "have", "with")]
    assert quality(text) == {
        "words": len(words),
        "median_word_length": median(map(len, words)) if words else 0,
        "symbol_words": len(symbols) / max(len(words), 1),
        "alphabetic_words": len(alphabetic) / max(len(words), 1),
        "stop_words": len(stop),
        "bullet_lines": len([line for line in lines if line[:1] in ("*", "-")]) / len(lines),
        "ellipsis_lines": len([line for line in lines if line[-1:] == "…"]) / len(lines),
    }


def test_every_occurrence_of_a_repeated_line_counts() -> None:
    found = repetition("one two\nsix\none two\nsix\nnine")
    assert found["duplicate_lines"] == 4 / 5
    assert found["duplicate_line_characters"] == (2 * 7 + 2 * 3) / 22, "spaces count in lines, not in words"


def test_first_of_equally_frequent_ngrams_is_the_top() -> None:
    assert repetition("a bb ccc a bb ccc")["top_2gram"] == 2 * 3 / 12
    assert repetition("ccc bb a ccc bb a")["top_2gram"] == 2 * 5 / 12


def test_published_limits_are_those_of_the_paper() -> None:
    limits = {**GOPHER_QUALITY.limits, **GOPHER_REPETITION.limits}
    assert {name: (each.least, each.most) for name, each in limits.items()} == {
        "words": (50, 100_000),
        "median_word_length": (3, 10),
        "symbol_words": (None, 0.1),
        "alphabetic_words": (0.8, None),
        "stop_words": (2, None),
        "bullet_lines": (None, 0.9),
        "ellipsis_lines": (None, 0.3),
        "duplicate_lines": (None, 0.3),
        "duplicate_line_characters": (None, 0.2),
        "top_2gram": (None, 0.2),
        "top_3gram": (None, 0.18),
        "top_4gram": (None, 0.16),
        "repeated_5grams": (None, 0.15),
        "repeated_6grams": (None, 0.14),
        "repeated_7grams": (None, 0.13),
        "repeated_8grams": (None, 0.12),
        "repeated_9grams": (None, 0.11),
        "repeated_10grams": (None, 0.1),
    }


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\ud800", "one"])
def test_text_without_words_has_values(text: str) -> None:
    assert len(quality(text)) == 7 and len(repetition(text)) == 11
