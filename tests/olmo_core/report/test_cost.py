"""Predicted and actual cost of a release that is partly made: tokens, FLOPs, energy and CO2e."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from olmo_core.recipe.carbon import kilograms_per_kwh
from olmo_core.recipe.compute import Compute
from olmo_core.recipe.estimate import estimate
from olmo_core.recipe.machine import Machine
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.quantity import show_duration, show_energy, show_flops
from olmo_core.report.cost import cost_table, kinds_table
from olmo_core.report.view import HistoryRow, ReleaseView
from olmo_core.report.words import mass

MACHINE = Machine("a CPU", 2, {"bf16": 60e9, "fp32": 60e9})
BEGAN, ENDED = "2026-01-01T00:00:00+00:00", "2026-01-01T00:01:30+00:00"


def record(kind: str, energy: Mapping[str, float] | None = None, seconds: float = 90.0) -> Any:
    return SimpleNamespace(kind=kind, energy=energy, seconds=seconds, started=BEGAN, finished=ENDED)


def view(plan: Plan, records: Mapping[str, Any] | None = None, tokens: Mapping[str, int] | None = None) -> ReleaseView:
    histories = {run.step.id: [] for runs in plan.runs.values() for run in runs}
    seen = {run: [HistoryRow(1, 9.0, 0.0), HistoryRow(count, 8.0, 0.0)] for run, count in (tokens or {}).items()}
    return ReleaseView(plan, cast(Any, records or {}), {}, {**histories, **seen})


def rows(*given: Any) -> dict[str, tuple[str, str]]:
    return {name: (predicted, actual) for name, predicted, actual in cost_table(*given).rows}


def test_prediction_is_that_of_the_whole_release(plan: Plan, compute: Compute) -> None:
    cost = estimate(plan, plan.steps, (), compute, MACHINE)
    assert cost.minutes is not None and cost.kwh is not None
    found = rows(view(plan), compute, MACHINE)
    assert found["training FLOPs"][0] == show_flops(cost.flops)
    assert found["time with a step running"][0] == show_duration(60 * cost.minutes)
    assert found["energy"][0] == show_energy(cost.kwh)


def test_nothing_made_is_zero_work_and_no_energy(plan: Plan, compute: Compute) -> None:
    found = {name: actual for name, (_, actual) in rows(view(plan), compute, MACHINE).items()}
    assert (found["tokens trained on"], found["training FLOPs"]) == ("0", "0")
    assert found["energy"] == found["CO2e"] == found["share read from hardware counters"] == "-"


def test_unmeasured_machine_has_no_predicted_time(plan: Plan, compute: Compute) -> None:
    found = rows(view(plan), compute, None)
    assert (found["time with a step running"][0], found["energy"][0], found["CO2e"][0]) == ("-", "-", "-")


def test_actual_tokens_and_flops_follow_the_histories(plan: Plan, compute: Compute) -> None:
    """A run halfway counts its own tokens, and each of them what its model and length of sequences cost."""
    (stage1,), (first, _) = plan.runs["stage1"], plan.runs["stage2"]
    found = rows(view(plan, tokens={stage1.step.id: 32_000, first.step.id: 2_000}), compute)
    assert found["tokens trained on"][1] == "34K"
    flops = 32_000 * stage1.model.flops_per_token(stage1.config.sequence_length)
    flops += 2_000 * first.model.flops_per_token(first.config.sequence_length)
    assert found["training FLOPs"][1] == show_flops(flops)


def test_co2e_is_energy_times_the_mix_of_the_country(plan: Plan) -> None:
    compute = Compute(name="laptop", country="SWE")
    cost = estimate(plan, plan.steps, (), compute, MACHINE)
    assert cost.kwh is not None
    found = rows(view(plan), compute, MACHINE)
    assert found["CO2e"][0] == mass(cost.kwh * kilograms_per_kwh("SWE")) != "-"


@pytest.mark.parametrize(
    ("readings", "energy", "counters"),
    [
        ([{"kwh": 0.002, "gpu_measured_kwh": 0.001, "cpu_measured_kwh": 0.0005}], "2 Wh", "75%"),
        ([{"kwh": 0.003, "gpu_measured_kwh": 0.003}, {"kwh": 0.001}], "4 Wh", "75%"),
        ([{"kwh": 0.002, "cpu_estimated_kwh": 0.002}], "2 Wh", "0%"),
        ([{"kwh": 0.0}], "0 Wh", "-"),
        ([{"kwh": 0.002}, None], "2 Wh, 1 step not measured", "0%"),
        ([None, None], "not measured", "-"),
    ],
)
def test_energy_adds_up_readings_and_counts_steps_without(
    readings: list[dict[str, float] | None], energy: str, counters: str, plan: Plan, compute: Compute
) -> None:
    results = [step for step in plan.steps if step.kind == "result"]
    records = {step.id: record("result", each) for step, each in zip(results, readings, strict=False)}
    found = rows(view(plan, records), compute)
    assert found["energy"][1] == energy
    assert found["share read from hardware counters"][1] == counters


def test_checkpoint_is_not_missing_a_reading_of_its_own(plan: Plan, compute: Compute) -> None:
    run = plan.runs["stage1"][0]
    records = {run.step.id: record("run", {"kwh": 0.002}), run.end.id: record("checkpoint")}
    assert rows(view(plan, records), compute)["energy"][1] == "2 Wh"


def test_steps_at_the_same_time_count_once_in_time_at_work(plan: Plan, compute: Compute) -> None:
    results = [step for step in plan.steps if step.kind == "result"][:3]
    found = rows(view(plan, {step.id: record("result") for step in results}), compute)
    assert found["time with a step running"][1] == "1 min 30 s"
    assert found["sum of the times of all steps"][1] == "4 min 30 s"


def test_kinds_are_those_with_records_in_the_order_of_the_plan(plan: Plan) -> None:
    made = [plan.tasks["kinds"], plan.tokenizer, plan.runs["stage1"][0].step]
    table = kinds_table(view(plan, {step.id: record(step.kind, {"kwh": 0.001}, 30.0) for step in made}))
    order = [step.kind for step in plan.steps if step in made]
    assert [row[0] for row in table.rows] == order
    assert {row[1:] for row in table.rows} == {("1", "30 s", "1 Wh")}
