from pathlib import Path

import pytest
import report_world
from report_world import fill, plan_of

from olmo_core.artifact.identity import Step
from olmo_core.artifact.store import Store
from olmo_core.evaluate.step import DOCUMENTS_FILE
from olmo_core.evaluate.table import HeldoutRow, Row, TaskRow, read_table
from olmo_core.evaluate.task import HELDOUT
from olmo_core.recipe.layout import lay_out_repository
from olmo_core.recipe.plan import Plan
from olmo_core.report.trend import read_trend, trend_picture, trend_rows

REVISIONS = {
    "main": "c" * 40,
    "stage1-step100-tokens2K": "b" * 40,
    "stage1-step20-tokens1K": "a" * 40,
    "stage2-soup": "d" * 40,
    "stage2-ingredient1-step8-tokens1K": "b" * 40,
}


def bits_per_byte(store: Store, plan: Plan, model: Step, source: str) -> float:
    found = store.find(plan.result(model, HELDOUT))
    assert found is not None
    table = read_table(found.path / DOCUMENTS_FILE)
    rows = [row for row in table if not isinstance(row, TaskRow) and row.source == source]
    return sum(row.bits for row in rows) / sum(row.bytes for row in rows)


def test_checkpoint_is_compared_with_previous_on_its_mix(plan: Plan, store: Store) -> None:
    (row,) = trend_rows(read_trend(plan, store))  # the runs of stage 2 have one checkpoint each
    assert (row["checkpoint"], row["against"]) == ("stage1-step125", "stage1-step75")
    early, late = plan.runs["stage1"][0].checkpoints.values()
    changes = [
        bits_per_byte(store, plan, late, source) - bits_per_byte(store, plan, early, source)
        for source in ("narrative", "wisdom")
    ]
    assert row["difference"] == pytest.approx(sum(changes) / 2, abs=1e-4)
    assert row["low"] < row["difference"] < row["high"]


def test_checkpoint_without_result_is_left_out(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    early = next(iter(plan.runs["stage1"][0].checkpoints.values()))
    result = plan.result(early, HELDOUT)
    fill(plan, store, [step for step in plan.steps if step.id != result.id and step.kind != "revision"])
    assert trend_rows(read_trend(plan, store)) == []


@pytest.mark.parametrize(("change", "regression"), [(0.5, True), (-0.5, False), (0.0, False)])
def test_regression_needs_interval_above_zero(
    change: float, regression: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = plan_of(), Store(tmp_path)
    last = plan.runs["stage1"][0].end

    def rows(result: Step) -> list[Row]:
        more = change if result.inputs["model"].id == last.id else 0.0
        return [
            HeldoutRow(source, str(number), 100.0 + number + 100 * more + (-1) ** number, 100, 30)
            for source in ("narrative", "wisdom")
            for number in range(8)
        ]

    monkeypatch.setattr(report_world, "_rows", rows)
    wanted = [*plan.runs["stage1"][0].checkpoints.values()]
    result = plan.result(last, HELDOUT)
    steps = [step for step in result.closure() if step.id != result.id]
    fill(plan, store, [*steps, *(each for each in wanted if each.id not in {step.id for step in steps})])
    fill(plan, store, [plan.result(step, HELDOUT) for step in wanted])
    (row,) = trend_rows(read_trend(plan, store))
    assert row["regression"] is regression
    assert row["difference"] == pytest.approx(change, abs=1e-3)


def test_repository_revisions_are_ordered_by_name(plan: Plan, tmp_path: Path) -> None:
    plan, store = lay_out_repository(plan.recipe, "org/model", REVISIONS), Store(tmp_path)
    fill(plan, store, plan.published["main"][HELDOUT].closure())
    assert read_trend(plan, store) == {}, "main is not part of a run"
    for name in ("stage1-step20-tokens1K", "stage1-step100-tokens2K"):
        fill(plan, store, [step for step in plan.published[name][HELDOUT].closure() if store.peek(step) is None])
    trend = read_trend(plan, store)
    assert {run: [(each.name, each.tokens) for each in points] for run, points in trend.items()} == {
        "stage1": [("stage1-step20-tokens1K", 1000), ("stage1-step100-tokens2K", 2000)],
        "stage2-ingredient1": [("stage2-ingredient1-step8-tokens1K", 1000)],  # the same commit under another name
    }
    (row,) = trend_rows(trend)
    assert (row["checkpoint"], row["against"]) == ("stage1-step100-tokens2K", "stage1-step20-tokens1K")
    assert trend["stage1"][0].scores.keys() == {"narrative", "wisdom"}


def test_picture_depends_only_on_records(plan: Plan, store: Store, tmp_path: Path) -> None:
    picture = trend_picture(read_trend(plan, store))
    assert picture.startswith(b"\x89PNG")
    assert picture == trend_picture(read_trend(plan, store))
    assert picture != trend_picture(read_trend(plan, Store(tmp_path))), "the other store has no results"
