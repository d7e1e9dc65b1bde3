"""The columns of rows without a recipe, and the guesses of the text and the id."""

from typing import Any

import pytest

from olmo_core.documents.columns import MAX_COLUMNS, columns_seen, id_column, shortened, text_column

LONG = "a sentence that is long enough to be a text"


def guessed(*rows: dict[str, Any]) -> tuple[str | None, str | None]:
    columns = columns_seen(rows)
    text, name = text_column(columns), id_column(columns)
    return text and text.name, name and name.name


def test_columns_have_types_share_and_an_example() -> None:
    rows = [{"a": 1, "m": {"u": "x", "deep": {"er": True}}}, {"a": "two\nlines"}, {"a": 3, "b": None}, {"a": [1.5]}]
    found = {each.name: each for each in columns_seen(rows)}
    assert list(found) == ["a", "m", "m.u", "m.deep", "m.deep.er", "b"]
    assert (found["a"].types, found["a"].share, found["a"].example) == (("integer", "string", "list"), 1.0, "1")
    assert (found["m"].types, found["m"].share) == (("object",), 0.25)
    assert (found["m.deep.er"].types, found["m.deep.er"].example) == (("boolean",), "True")
    assert (found["b"].types, found["b"].share, found["b"].example) == ((), 0.0, "")


def test_rows_with_a_new_column_each_do_not_fill_the_memory() -> None:
    assert len(columns_seen({f"c{n}": n} for n in range(1000))) == MAX_COLUMNS


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"title": LONG * 9, "text": "x"}, "text"),
        ({"content": "x", "body": LONG}, "content"),
        ({"Content": "x"}, "Content"),
        ({"data": {"text": "x"}, "body": "y"}, "data.text"),
        ({"data": {"body": "x"}, "body": "y"}, "body"),
        ({"text": 5, "note": LONG, "code": "ab"}, "note"),
        ({"text": ["x"], "code": "ab"}, None),
        ({"id": 1}, None),
    ],
)
def test_text_is_guessed_by_name_then_by_length(row: dict[str, Any], text: str | None) -> None:
    assert guessed(row, row)[0] == text


def test_a_column_that_few_rows_have_is_not_the_text() -> None:
    assert guessed({"text": LONG}, {"note": LONG}, {"note": LONG})[0] == "note"


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([{"url": "a", "id": "1"}, {"url": "b", "id": "2"}], "id"),
        ([{"url": "a", "id": "1"}, {"url": "b", "id": "1"}], "url"),
        ([{"url": "a", "id": "1"}, {"url": "b"}], "url"),
        ([{"id": 1.5}, {"id": 2.5}], None),
        ([{"meta": {"uuid": "a"}}, {"meta": {"uuid": "b"}}], "meta.uuid"),
        ([{"name": "a"}, {"name": "b"}], None),
    ],
)
def test_an_id_is_in_every_row_and_never_repeats(rows: list[dict[str, Any]], name: str | None) -> None:
    assert guessed(*rows)[1] == name


def test_a_shortened_value_is_one_line_without_control_characters() -> None:
    assert shortened("a\n\t b\x1b[31m\u202ec", 60) == "a b [31m c"
    assert shortened("x" * 100, 10) == "xxxxxxx..."
    assert shortened("  ", 10) == ""
    assert len(shortened(" " * 1000 + "x", 10)) <= 10
