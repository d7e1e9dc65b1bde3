"""Quality and repetition rules of Gopher, measured as in Dolma's tagger `gopher_v1`.

Rae et al. 2021, arXiv 2112.11446, section A.1.1 and table A1. Words are what white space separates. Where Dolma and the
paper differ, Dolma's way was used for OLMo: the median of the word lengths, not the mean; every occurrence of a
repeated line or n-gram counts, not only those after the first; a bullet is `*` or `-`, an ellipsis is `…`.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from olmo_core.documents.filters.filter import Filter, Limits, at_least, at_most
from olmo_core.documents.filters.ngrams import ngram_counts

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
LONGEST = 10
# Share of the characters that may be in the most frequent n-gram, and in n-grams that occur more than once.
TOP_NGRAMS: Mapping[int, float] = {2: 0.20, 3: 0.18, 4: 0.16}
REPEATED_NGRAMS: Mapping[int, float] = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def measure_quality(text: str) -> list[float]:
    """Return the values of `GOPHER_QUALITY`."""
    words, lines = text.split(), text.split("\n")
    count = max(len(words), 1)
    return [
        len(words),
        float(np.median([len(word) for word in words])) if words else 0.0,
        sum("#" in word or "…" in word for word in words) / count,
        sum(any(map(str.isalpha, word)) for word in words) / count,
        sum(word in STOP_WORDS for word in words),
        sum(line.startswith(("*", "-")) for line in lines) / len(lines),
        sum(line.endswith("…") for line in lines) / len(lines),
    ]


def measure_repetition(text: str) -> list[float]:
    """Return the values of `GOPHER_REPETITION`."""
    words, lines = text.split(), text.split("\n")
    characters = max(sum(map(len, words)), 1)
    repeated = [(line, count) for line, count in Counter(lines).items() if count > 1]
    values = {
        "duplicate_lines": sum(count for _, count in repeated) / len(lines),
        "duplicate_line_characters": sum(len(line) * count for line, count in repeated) / characters,
    }
    for n, counts, sizes, first in ngram_counts(words, LONGEST):
        if n in TOP_NGRAMS:
            most = np.flatnonzero(counts == counts.max())
            top = most[np.argmin(first[most])]  # of the most frequent ones, the first in the text
            values[f"top_{n}gram"] = int(counts[top] * sizes[top]) / characters
        else:
            covered, twice = counts * sizes, counts > 1
            values[f"repeated_{n}grams"] = int(covered[twice].sum()) / max(int(covered.sum()), 1)
    return [values.get(name, 0.0) for name in GOPHER_REPETITION.limits]


GOPHER_QUALITY = Filter(
    version=1,
    measure=measure_quality,
    limits={
        "words": Limits(least=50, most=100_000),
        "median_word_length": Limits(least=3, most=10),
        "symbol_words": at_most(0.1),
        "alphabetic_words": at_least(0.8),
        "stop_words": at_least(2),
        "bullet_lines": at_most(0.9),
        "ellipsis_lines": at_most(0.3),
    },
    source="Rae et al. 2021, arXiv 2112.11446, A.1.1; Dolma, gopher_v1",
)
GOPHER_REPETITION = Filter(
    version=1,
    measure=measure_repetition,
    limits={
        "duplicate_lines": at_most(0.30),
        "duplicate_line_characters": at_most(0.20),
        **{f"top_{n}gram": at_most(share) for n, share in TOP_NGRAMS.items()},
        **{f"repeated_{n}grams": at_most(share) for n, share in REPEATED_NGRAMS.items()},
    },
    source="Rae et al. 2021, arXiv 2112.11446, table A1; Dolma, gopher_v1",
)
