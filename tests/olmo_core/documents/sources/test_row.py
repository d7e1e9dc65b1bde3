from typing import Any

import pytest
from pydantic import ValidationError

from olmo_core.documents.document import Document
from olmo_core.documents.sources.files import BadRow
from olmo_core.documents.sources.row import Columns


def document(row: dict[str, Any], **columns: Any) -> Document | BadRow:
    return Columns(**columns).document(row, "a.jsonl, line 1", "/data/a.jsonl", 17)


def reason(row: dict[str, Any], **columns: Any) -> tuple[str, str]:
    bad = document(row, **columns)
    assert isinstance(bad, BadRow) and bad.where == "a.jsonl, line 1"
    return bad.reason, bad.detail


def test_row_becomes_a_document_with_its_address() -> None:
    assert document({"text": "One.", "id": "x", "other": 1}) == Document("x", "One.", source="/data/a.jsonl")
    assert document({"text": "", "id": 7}) == Document("7", "", source="/data/a.jsonl")


def test_row_without_id_is_named_by_its_place() -> None:
    for row in ({"text": "a"}, {"text": "a", "id": None}, {"text": "a", "id": ""}):
        assert document(row) == Document("/data/a.jsonl:17", "a", source="/data/a.jsonl")
    assert document({"text": "a", "id": 0}) == Document("0", "a", source="/data/a.jsonl")


def test_other_and_nested_columns_are_read() -> None:
    row = {"content": {"body": "One."}, "meta": {"url": "u", "site": {"name": "s"}, "page": 3, "none": None}}
    columns = {
        "text": "content.body",
        "id": "meta.url",
        "group": "meta.site.name",
        "metadata": ("meta.page", "meta.none", "meta.page.deeper", "absent"),
    }
    assert document(row, **columns) == Document("u", "One.", "s", "/data/a.jsonl", {"meta.page": 3})
    assert Columns(**columns).needed == ("content", "meta", "absent")
    assert Columns().needed == ("text", "id")


def test_group_may_be_a_number_or_absent() -> None:
    groups = [document({"text": "a", "book": book}, group="book") for book in ("x", 3, 0, None)]
    assert [each.group for each in groups if isinstance(each, Document)] == ["x", "3", "0", ""]


def test_row_without_text_is_refused_with_its_columns() -> None:
    for row in ({"body": "a", "id": "x"}, {"body": "a", "id": "x", "text": None}):
        assert reason(row) == ("no text", f"column 'text' is missing or null; there are {sorted(row)}")
    assert reason({"text": "not nested"}, text="text.body")[0] == "no text"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1, "a number"), (1.5, "a number"), (True, "true or false"), (["a"], "a list"), ({}, "an object")],
)
def test_value_of_another_type_is_refused(value: Any, kind: str) -> None:
    assert reason({"text": value}) == ("text of another type", f"column 'text' is {kind}, not a string")
    if not isinstance(value, int) or isinstance(value, bool):
        for column in ("id", "group"):
            assert reason({"text": "a", column: value}, group="group") == (
                f"{column} of another type",
                f"column '{column}' is {kind}, not a string or integer",
            )
    if isinstance(value, list | dict):
        assert reason({"text": "a", "m": value}, metadata=("m",)) == (
            "metadata of another type",
            f"column 'm' is {kind}, not one value",
        )


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 2**64, -(2**63) - 1, 10**30])
def test_number_that_a_shard_cannot_hold_is_refused(value: float) -> None:
    assert reason({"text": "a", "m": value}, metadata=("m",)) == (
        "metadata out of range",
        f"column 'm' is {value}, which JSON cannot hold",
    )


def test_largest_numbers_are_kept() -> None:
    for value in (2**64 - 1, -(2**63), 1e308, True, "x"):
        found = document({"text": "a", "m": value}, metadata=("m",))
        assert isinstance(found, Document) and found.metadata == {"m": value}


def test_empty_column_name_is_refused() -> None:
    for column in ("text", "id", "group"):
        with pytest.raises(ValidationError, match=column):
            Columns.model_validate({column: ""})
