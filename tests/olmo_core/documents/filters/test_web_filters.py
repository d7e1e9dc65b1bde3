"""C4's and FineWeb's measures on texts small enough to count by hand."""

import numpy as np
import pytest

from olmo_core.documents.filters.c4 import C4
from olmo_core.documents.filters.filter import Filter
from olmo_core.documents.filters.fineweb import FINEWEB


def measured(found: Filter, text: str) -> dict[str, float]:
    return dict(zip(found.limits, found.measure(text), strict=True))


def drops(found: Filter, text: str) -> list[str]:
    values = measured(found, text)
    return [name for name, each in found.limits.items() if each.outside(np.array([values[name]]))[0]]


def test_c4_counts_lines() -> None:
    text = 'He said: "Go."\nAnd then\n\nIt was a long day!  \nWas it?'
    assert measured(C4, text) == {
        "unended_lines": 2 / 5,
        "short_lines": 3 / 5,
        "javascript": 0,
        "lorem_ipsum": 0,
        "curly_bracket": 0,
    }
    assert drops(C4, text) == [], "shares of lines have no published limit"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Please enable JavaScript to go on.", "javascript"),
        ("Lorem\u00a0ipsum is not it, Lorem Ipsum dolor is.", "lorem_ipsum"),
        ("if (x) { return; }", "curly_bracket"),
    ],
)
def test_c4_drops_pages_of_code_and_filler(text: str, rule: str) -> None:
    assert drops(C4, text) == [rule]


def test_c4_knows_javascript_only_as_a_word() -> None:
    assert drops(C4, "javascripts are many.") == []


def test_fineweb_counts_lines_and_repeated_characters() -> None:
    line = "This line has more than thirty characters."
    assert measured(FINEWEB, f"{line}\nmenu\nmenu\n\n\n{line}") == {
        "ended_lines": 2 / 6,
        "short_lines": 4 / 6,
        "repeated_characters": (len(line) + 4) / (2 * len(line) + 8),
        "new_lines": 5 / 16,
    }


def test_fineweb_drops_at_the_limit_itself() -> None:
    ended, open_line = "A line that has an end mark is here.", "A line that has no end mark is here"
    texts = {12: ["ended_lines"], 13: []}
    for count, expected in texts.items():
        lines = [f"{number} {ended}" for number in range(count)]
        lines += [f"{number} {open_line}" for number in range(100 - count)]
        assert drops(FINEWEB, "\n".join(lines)) == expected, count


def test_fineweb_drops_menus_and_repetition() -> None:
    assert drops(FINEWEB, "\n".join(f"item {number}." for number in range(9))) == ["short_lines", "new_lines"]
    line = "This line has more than thirty characters, and an end."
    assert drops(FINEWEB, f"{line}\n{line}") == ["repeated_characters"]


def test_empty_text_has_values() -> None:
    assert measured(C4, "")["short_lines"] == 1 and measured(FINEWEB, "")["new_lines"] == 0
