"""Tables and progress lines fit 80 columns and break no name."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from flows.cli.progress import Watch, print_table, turned
from tasks.workers.progress import Report


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
def test_a_table_fits_and_has_every_name_and_number_whole(models: int, tasks: int, turn: bool) -> None:
    rows = evaluation(models, tasks)
    lines = table(turned(rows, "model") if turn else rows)
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert {row["model"] for row in rows} <= set(words)
    assert sum(word == "1.235" for word in words) == models
    assert all(f"task_number_{task} bits/byte" in " ".join(words) for task in range(tasks))


def test_numbers_stand_below_each_other_and_pages_repeat_the_first_column() -> None:
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


def test_a_name_wider_than_the_console_is_left_whole() -> None:
    assert table([{"name": "x" * 100, "n": 1}])[3] == "x" * 100 + "  1"
    assert table([]) == ["title"]


def last_line(*reports: Report) -> str:
    watch = Watch(Console(file=io.StringIO()), SimpleNamespace(made=[]))  # type: ignore[arg-type]
    return [watch._text("step", report) for report in reports][-1]


@pytest.mark.parametrize(
    ("total", "unit", "shown", "line"),
    [
        (
            204_800,
            "tokens",
            {"loss": 5.43213, "tokens_per_second": 1234.5, "memory_bytes": 7e8},
            "12K of 205K tokens, 1K/s, 3 min left, loss 5.432",
        ),
        (24e6, "bytes", {}, "12 kB of 24 MB, 1 kB/s, 6.7 h left"),
        (12_000, "documents", {"tokens": 77.0}, "12K documents, 1K/s"),
    ],
)
def test_progress_is_done_rate_time_left_and_loss(total: float, unit: str, shown: dict[str, float], line: str) -> None:
    """The rate is that after the first step: what comes before it is compilation."""
    seen = ((0, 10.0), (2_000, 100.0), (12_000, 110.0))
    assert last_line(*(Report(done, total, unit, shown, at) for done, at in seen)) == line


def test_a_run_that_goes_on_from_a_checkpoint_has_a_rate_of_its_own() -> None:
    watch = Watch(Console(file=io.StringIO()), SimpleNamespace(made=[]))  # type: ignore[arg-type]
    for done, at in ((50_000, 0.0), (40_000, 60.0)):
        assert "left" not in watch._text("run", Report(done, 100_000, "tokens", {}, at))
    assert watch._text("run", Report(41_000, 100_000, "tokens", {}, 61.0)) == "41K of 100K tokens, 1K/s, 59 s left"
