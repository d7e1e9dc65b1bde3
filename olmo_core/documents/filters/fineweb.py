"""Rules that FineWeb adds to those of Gopher and C4: documents that are lists or menus.

Penedo et al. 2024, arXiv 2406.17557, section 3.5. Words are what white space separates; datatrove counts punctuation
marks as words too, so that its share of new lines is somewhat lower.
"""

from collections import Counter

from olmo_core.documents.filters.filter import Filter, Limits

_END_MARKS = (".", "'", '"', "!", "?")
_SHORT_LINE_CHARACTERS = 30
# The paper drops a document at the limit itself: the least and most values here are the nearest ones beyond it.
_BEYOND = 1e-9


def measure(text: str) -> list[float]:
    """Return the values of `FINEWEB`."""
    lines = text.split("\n")
    repeated = sum((count - 1) * len(line) for line, count in Counter(lines).items() if count > 1 and line.strip())
    return [
        sum(line.endswith(_END_MARKS) for line in lines) / len(lines),
        sum(len(line) <= _SHORT_LINE_CHARACTERS for line in lines) / len(lines),
        repeated / max(len(text) - text.count("\n"), 1),
        text.count("\n") / max(len(text.split()), 1),
    ]


FINEWEB = Filter(
    version=1,
    measure=measure,
    limits={
        "ended_lines": Limits(least=0.12 + _BEYOND),
        "short_lines": Limits(most=0.67 - _BEYOND),
        "repeated_characters": Limits(most=0.01 - _BEYOND),
        "new_lines": Limits(most=0.3),
    },
    source="Penedo et al. 2024, arXiv 2406.17557, 3.5",
)
