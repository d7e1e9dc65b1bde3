"""Progress lines are short, and show the amount done, the rate and the time left."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from flows.cli.progress import Watch
from tasks.workers.progress import Report


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
def test_progress_shows_done_rate_time_left_and_loss(
    total: float, unit: str, shown: dict[str, float], line: str
) -> None:
    """The rate starts after the first step: the time before it is compilation."""
    seen = ((0, 10.0), (2_000, 100.0), (12_000, 110.0))
    assert last_line(*(Report(done, total, unit, shown, at) for done, at in seen)) == line


def test_rate_restarts_after_resuming() -> None:
    watch = Watch(Console(file=io.StringIO()), SimpleNamespace(made=[]))  # type: ignore[arg-type]
    for done, at in ((50_000, 0.0), (40_000, 60.0)):
        assert "left" not in watch._text("run", Report(done, 100_000, "tokens", {}, at))
    assert watch._text("run", Report(41_000, 100_000, "tokens", {}, 61.0)) == "41K of 100K tokens, 1K/s, 59 s left"
