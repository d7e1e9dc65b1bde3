"""Rules of C4 that drop whole documents, measured as in Dolma's tagger `c4_v1`.

Raffel et al. 2020, arXiv 1910.10683, section 2.2. C4 also removes single lines; here a document is kept or dropped as
it is, so lines without an end mark or with too few words are shares, which have no published limit.
"""

from olmo_core.documents.filters.filter import Filter, Limits, at_most

_END_MARKS = (".", "?", "!", '"')
_LEAST_WORDS = 3


def measure(text: str) -> list[float]:
    """Return the values of `C4`."""
    lines = [line.strip() for line in text.lower().split("\n")]
    words = [line.split() for line in lines]
    return [
        sum(not line.endswith(_END_MARKS) for line in lines) / len(lines),
        sum(len(own) < _LEAST_WORDS for own in words) / len(lines),
        float(any("javascript" in own for own in words)),
        float("lorem ipsum" in text.lower()),
        float("{" in text),
    ]


C4 = Filter(
    version=1,
    measure=measure,
    limits={
        "unended_lines": Limits(),
        "short_lines": Limits(),
        "javascript": at_most(0),
        "lorem_ipsum": at_most(0),
        "curly_bracket": at_most(0),
    },
    source="Raffel et al. 2020, arXiv 1910.10683, 2.2; Dolma, c4_v1",
)
