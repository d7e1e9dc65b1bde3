"""Loss figures: stages that have begun, runs in words, rows of the table, and an axis that suits most steps."""

import re

import pytest

from olmo_core.recipe.plan import Plan
from olmo_core.report.curves import TABLE_ROWS, _ends, _table, loss_figures
from olmo_core.report.figure import Figure, Look, look
from olmo_core.report.view import HistoryRow, ReleaseView


def history(losses: list[float], batch: int = 100) -> list[HistoryRow]:
    return [HistoryRow(batch * (at + 1), loss, 1e-3) for at, loss in enumerate(losses)]


def figures(plan: Plan, **histories: list[HistoryRow]) -> list[Figure]:
    """Return the figures of a release whose runs have these histories, by names with `_` for `-`."""
    runs = [run for runs in plan.runs.values() for run in runs]
    looks: dict[str, Look] = {run.step.name: look(number) for number, run in enumerate(runs)}
    own = {run.step.id: histories.get(run.step.name.replace("-", "_"), []) for run in runs}
    return loss_figures(ReleaseView(plan, {}, {}, own), looks)


def test_only_stages_that_have_begun_have_a_figure(plan: Plan) -> None:
    assert figures(plan) == []
    assert [each.key for each in figures(plan, stage2_ingredient2=history([2.0]))] == ["loss-stage2"]


def test_run_that_has_not_begun_is_not_in_the_figure_of_its_stage(plan: Plan) -> None:
    (figure,) = figures(plan, stage2_ingredient2=history([2.0, 1.5]))
    assert {row[0] for row in figure.table.rows} == {"stage2-ingredient2"}
    assert "ingredient1" not in figure.description
    assert "--series-1" not in figure.svg and "--series-2" in figure.svg, "it keeps its own colour"


@pytest.mark.parametrize(
    ("steps", "few", "tokens"), [(1, 1, "100"), (19, 1, "1.9K"), (40, 2, "4K"), (59, 2, "5.9K"), (200, 10, "20K")]
)
def test_words_average_a_twentieth_of_the_steps_at_both_ends(steps: int, few: int, tokens: str) -> None:
    losses = [4.0] * few + [9.0] * (steps - 2 * few) + [2.0] * few if steps > 1 else [3.0]
    first, last = (4.0, 2.0) if steps > 1 else (3.0, 3.0)
    assert _ends("stage1", history(losses)) == (
        f"stage1: {first:.3f} over the first {few} steps, {last:.3f} over the last {few}, at {tokens} tokens."
    )


def test_table_has_every_step_of_a_short_run() -> None:
    assert _table("stage1", {"a": history([4.0, 3.0, 2.5]), "b": history([1.0])}).rows == [
        ("a", "100", "4.0000", "4.0000", "4.0000", "0.001"),
        ("a", "200", "3.0000", "3.0000", "3.0000", "0.001"),
        ("a", "300", "2.5000", "2.5000", "2.5000", "0.001"),
        ("b", "100", "1.0000", "1.0000", "1.0000", "0.001"),
    ]


def test_row_of_a_long_run_has_the_mean_and_the_range_of_its_steps() -> None:
    losses = [float(step % 2) for step in range(10 * TABLE_ROWS)]
    rows = _table("stage1", {"stage1": history(losses)}).rows
    assert len(rows) == TABLE_ROWS
    assert rows[0] == ("stage1", "1,000", "0.5000", "0.0000", "1.0000", "0.001")
    assert rows[-1][1] == "24,000"


def heights(figure: Figure) -> list[float]:
    """Return the y of every point of the loss curve of stage 1 in pixels, from the top."""
    pattern = r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: var\(--series-0\)'
    curve, *_ = re.findall(pattern, figure.svg)
    return [float(y) for y in re.findall(r"[ML] [-\d.]+ (-?[\d.]+)", curve)]


def test_few_early_steps_do_not_flatten_the_curve(plan: Plan) -> None:
    """With one step of 100 far above the rest, the others use most of the height, as they do without it."""
    usual = [3.0 - step / 100 for step in range(100)]
    (without,) = figures(plan, stage1=history(usual))
    (outlier,) = figures(plan, stage1=history([50.0, *usual[1:]]))
    reach = [max(own) - min(own) for own in (heights(without)[5:], heights(outlier)[5:])]
    assert reach[1] == pytest.approx(reach[0], rel=0.05)


def test_constant_loss_has_an_axis(plan: Plan) -> None:
    (figure,) = figures(plan, stage1=history([2.0] * 50))
    (low, *_), high = heights(figure), max(heights(figure))
    assert low == high, "a level line"
    assert len(figure.table.rows) == TABLE_ROWS
