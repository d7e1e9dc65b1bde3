"""Tables fit into 80 columns and never break a name."""

import io
from typing import Any

import pytest
from rich.console import Console

from flows.cli.tables import print_table, transposed


def table(rows: list[dict[str, Any]], width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_table(console, "title", rows)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def evaluation(models: int, tasks: int) -> list[dict[str, Any]]:
    return [
        {"model": f"stage2-ingredient{model}-step23852", "encyclopedia": 1.23456}
        | {f"task_number_{task} bits/byte": model / (task + 1) for task in range(tasks)}
        for model in range(1, models + 1)
    ]


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize(("models", "tasks"), [(1, 1), (7, 4), (30, 10)])
def test_table_fits_without_breaking_cells(models: int, tasks: int, turn: bool) -> None:
    rows = evaluation(models, tasks)
    lines = table(transposed(rows, "model") if turn else rows)
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert {row["model"] for row in rows} <= set(words)
    assert sum(word == "1.235" for word in words) == models
    assert all(f"task_number_{task} bits/byte" in " ".join(words) for task in range(tasks))


def test_numbers_align_and_pages_repeat_first_column() -> None:
    assert table([{"name": "a", "count": 1234, "time": "9 s"}, {"name": "long", "count": 5, "time": "12 s"}], 16) == [
        "title",
        "name  count",
        "────  ─────",
        "a     1,234",
        "long      5",
        "",
        "name  time",
        "────  ────",
        "a      9 s",
        "long  12 s",
    ]


def test_name_wider_than_console_is_not_cut() -> None:
    assert table([{"name": "x" * 100, "n": 1}])[3] == "x" * 100 + "  1"
    assert table([]) == ["title"]
