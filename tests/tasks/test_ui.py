"""Tables and pictures in Prefect's UI."""

from typing import Any

import pytest

from tasks import ui as shown


def test_table_has_all_columns_and_rounded_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(shown, "create_table_artifact", lambda **given: made.update(given))
    rows = [{"corpus": "django", "share_asked": 0.123456}, {"corpus": "sympy", "tokens": 457445}]
    shown.show_table("my_recipe-mixes", rows, "Corpora of each mix")
    assert made["table"] == [
        {"corpus": "django", "share asked": 0.1235, "tokens": None},
        {"corpus": "sympy", "share asked": None, "tokens": 457445},
    ]
    assert (made["key"], made["description"]) == ("my-recipe-mixes", "Corpora of each mix")


def test_picture_is_embedded_in_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(shown, "create_markdown_artifact", lambda **given: made.update(given))
    shown.show_picture("trend", b"\x89PNG", "Bits per byte")
    assert made == {
        "key": "trend",
        "markdown": "![Bits per byte](data:image/png;base64,iVBORw==)",
        "description": "Bits per byte",
    }
