"""Numbers of the page match the records: curves, scores, comparisons, cost, formats."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import report_world
from hypothesis import given
from hypothesis import strategies as st
from report_world import fill, plan_of

from olmo_core.artifact.store import Store
from olmo_core.evaluate.metrics import summary
from olmo_core.evaluate.task import HELDOUT
from olmo_core.recipe.compute import Compute
from olmo_core.recipe.plan import Plan
from olmo_core.report.comparison import candidates_table, comparison_figure
from olmo_core.report.cost import cost_table, kinds_table, seconds_at_work
from olmo_core.report.curves import binned
from olmo_core.report.figure import SOUP_LOOK, VARIABLES, look
from olmo_core.report.scores import heldout_figures, task_figures
from olmo_core.report.tables import end_rows, evaluation_rows, mix_rows, stage_rows
from olmo_core.report.trend import read_trend, trend_rows
from olmo_core.report.view import HistoryRow, ReleaseView, read_release
from olmo_core.report.words import duration, mass, some, thinned

LOSSES = st.lists(st.floats(0, 20), min_size=1, max_size=300)


@pytest.fixture(scope="module")
def release(plan: Plan, store: Store) -> ReleaseView:
    return read_release(plan, store)


@pytest.fixture(scope="module")
def looks(plan: Plan) -> dict[str, Any]:
    runs = [run for runs in plan.runs.values() for run in runs]
    return {run.step.name: look(number) for number, run in enumerate(runs)} | {"soup": SOUP_LOOK}


@given(LOSSES, st.integers(1, 60))
def test_bins_cover_every_step_once(losses: list[float], bins: int) -> None:
    curve = binned([HistoryRow(10 * (i + 1), loss, i / 7) for i, loss in enumerate(losses)], bins)
    ends = [int(tokens) // 10 for tokens in curve.tokens]
    assert len(ends) == min(bins, len(losses)) and ends[-1] == len(losses)
    for begin, end, mean, low, high, rate in zip(
        [0, *ends], ends, curve.loss, curve.low, curve.high, curve.rate, strict=False
    ):
        own = losses[begin:end]
        assert own, "no bin is empty"
        assert mean == pytest.approx(sum(own) / len(own))
        assert (low, high, rate) == (min(own), max(own), (end - 1) / 7)


def test_score_tables_match_results(release: ReleaseView, plan: Plan, looks: dict[str, Any]) -> None:
    figures = {figure.title: figure for figure in heldout_figures(release, looks)}
    assert set(figures) == {"narrative", "wisdom"}
    rows = {row[0]: row for row in figures["wisdom"].table.rows}
    models = [*plan.checkpoints(), *plan.soups.values()]
    assert list(rows) == [model.name for model in models]
    for model in models:
        record = release.record(plan.result(model, HELDOUT))
        assert record is not None
        found = record.result["heldout"]["wisdom"]
        low, high = (found["bits_per_byte"] + sign * 1.96 * found["stderr"] for sign in (-1, 1))
        assert rows[model.name][1:] == (
            f"{release.tokens_seen(model):,}",
            f"{found['bits_per_byte']:.4f}",
            f"{low:.3f} to {high:.3f}",
            f"{found['documents']}",
        )


def test_long_series_is_thinned_evenly(looks: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = plan_of("micro", "stages.stage1.checkpoint_every=25"), Store(tmp_path)
    fill(plan, store)
    monkeypatch.setattr("olmo_core.report.scores.POINTS", 3)
    figure = heldout_figures(read_release(plan, store), looks)[0]
    shown = [row[0] for row in figure.table.rows]
    assert shown[:3] == ["stage1-step25", "stage1-step75", "stage1-step125"] and shown[-1] == "soup"
    assert "6 of 8 models, evenly spaced" in figure.table.caption
    assert "8 models" in figure.description, "the best of all models is named"


@given(st.lists(st.integers(), max_size=50), st.integers(2, 20))
def test_thinned_keeps_ends_and_order(items: list[int], most: int) -> None:
    places = thinned(range(len(items)), most)
    assert places == sorted(set(places)) and len(places) == min(most, len(items))
    assert not items or (places[0], places[-1]) == (0, len(items) - 1)


def test_task_figures_show_main_metric_and_chance(release: ReleaseView, looks: dict[str, Any]) -> None:
    figures = task_figures(release, looks)
    assert [figure.title for figure in figures] == ["kinds:rc_0shot, accuracy", "opposites:rc_0shot, accuracy"]
    assert all("Guessing gets 0.25." in figure.description and ">chance<" in figure.svg for figure in figures)
    assert all("higher is better" in figure.description for figure in figures)


def test_placeholder_colours_are_replaced(release: ReleaseView, looks: dict[str, Any]) -> None:
    for figure in heldout_figures(release, looks):
        assert not [colour for colour in VARIABLES if colour in figure.svg]
        assert "var(--accent)" in figure.svg and "var(--series-1)" in figure.svg


def test_comparison_matches_decision(release: ReleaseView, plan: Plan) -> None:
    record = release.record(plan.decision)
    assert record is not None
    decision = record.result
    figure = comparison_figure(decision)
    assert figure is not None
    mean = decision["comparisons"]["soup_against_mean"]
    expected = (f"{mean['difference']:+.4f}", f"{mean['low']:+.4f}", f"{mean['high']:+.4f}", "95%")
    assert ("soup against the mean of the ingredients", *expected) in figure.table.rows
    first = candidates_table(decision).rows[0]
    assert first[:2] == ("soup (main)", f"{decision['candidates']['soup']['bits_per_byte']:.4f}")


def test_mix_rows_begin_with_shares(plan: Plan, store: Store) -> None:
    rows = mix_rows(plan, store)
    assert list(rows[0]) == ["mix", "corpus", "share_asked", "share_given", "tokens", "epochs"]
    assert {row["mix"] for row in rows} == {step.name for step in plan.mixes.values()}


def test_sources_without_documents_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = plan_of("micro", "--corpora.narrative.heldout=0"), Store(tmp_path)
    monkeypatch.setattr(
        report_world,
        "summary",
        lambda rows: {"heldout": summary(rows)["heldout"], "tasks": {}},
    )
    fill(plan, store)
    rows = evaluation_rows(plan, store)
    assert all(row.keys() == {"model", "wisdom"} for row in rows)
    scored = {row["model"]: row["wisdom"] for row in rows}
    stages = stage_rows(plan, store)
    assert [(row["stage"], row["on"]) for row in stages] == [("stage1", "wisdom"), ("stage2", "wisdom")]
    assert (stages[0]["after"], stages[1]["before"]) == (scored["stage1-step125"],) * 2
    (row,) = trend_rows(read_trend(plan, store))
    assert row["checkpoint"] == "stage1-step125"


def test_end_rows_use_recipe_references() -> None:
    plan = plan_of("micro")
    rows = [{"model": step.name} for step in [*plan.checkpoints(), *plan.soups.values()]]
    assert [row["model"] for row in end_rows(plan, rows)] == ["stage1", "stage2/1", "stage2/2", "soup"]
    assert [row["model"] for row in end_rows(plan, rows[:1])] == ["stage1@75"], "the run has not ended yet"


def test_decision_without_soup_has_no_comparison() -> None:
    assert comparison_figure({"comparisons": {}}) is None


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12))
def test_seconds_at_work_count_overlaps_once(spans: list[tuple[int, int]]) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    records: Any = [
        SimpleNamespace(
            started=(begin + timedelta(seconds=start)).isoformat(),
            finished=(begin + timedelta(seconds=start + length)).isoformat(),
        )
        for start, length in spans
    ]
    covered = {second for start, length in spans for second in range(start, start + length)}
    assert seconds_at_work(records) == len(covered)


def test_energy_sums_readings_and_counts_missing_ones(release: ReleaseView, compute: Compute) -> None:
    rows = {row[0]: row for row in cost_table(release, compute).rows}
    without = sum(record.kind not in {"run", "checkpoint"} for record in release.records.values())
    assert rows["energy"][2] == f"6 Wh, {without} steps not measured"
    assert rows["CO2e"][2] == f"1.5 g, {without} steps not measured"
    assert rows["share read from hardware counters"][2] == "25%"
    assert rows["CO2e"][1] == "-"
    assert rows["tokens trained on"][1:] == ("96K", "96.8K")  # whole batches
    kinds = {row[0]: row for row in kinds_table(release).rows}
    assert kinds["run"][1] == "3" and kinds["run"][3] == "6 Wh"
    assert kinds["checkpoint"][3] == "-"
    assert kinds["soup"][3] == "not measured"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0071, "0.0071 s"),
        (5, "5.0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (90_000, "1 d 01 h"),
    ],
)
def test_duration_format(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_mass_chooses_unit() -> None:
    assert (mass(0.0035), mass(2)) == ("3.5 g", "2 kg")


def test_long_list_counts_omitted_names() -> None:
    assert some([]) == ""
    assert some("abcdefghi") == "a, b, c, d, e, f, g, h, i", "one more name is as short as `and 1 more`"
    assert some("abcdefghijk") == "a, b, c, d, e, f, g, h and 3 more"


def test_looks_of_runs_are_distinct() -> None:
    looks = {(each.colour, each.marker) for each in map(look, range(49))}
    assert len(looks) == 49
    assert len({each.glyph for each in map(look, range(7))}) == 7
    assert np.unique(list(VARIABLES)).size == len(VARIABLES)
