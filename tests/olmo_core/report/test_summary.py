"""The summary of a plan: counts, costs and reasons of the parts that run, against the plan and the estimate."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_world import plan_of

from olmo_core.artifact.why import Why
from olmo_core.recipe.compute import Compute
from olmo_core.recipe.estimate import estimate
from olmo_core.recipe.machine import Machine
from olmo_core.report.reasons import NO_RECORD
from olmo_core.report.summary import summary

PLAN = plan_of()
COMPUTE = Compute(name="laptop")
MACHINE = Machine("a CPU", 2, {"bf16": 60e9, "fp32": 60e9})
MISS, HIT = Why(False, "no such step was ever made in this store"), Why(True, "complete")
COSTS = {"steps", "tokens", "flops", "minutes", "kwh", "bytes", "basis", "unknown"}


def verdicts(missing: set[str]) -> dict[str, Why]:
    return {step.id: MISS if step.id in missing else HIT for step in PLAN.steps}


@settings(max_examples=20)
@given(st.sets(st.sampled_from([step.id for step in PLAN.steps])))
def test_parts_count_every_step_once_and_cost_what_the_estimate_predicts(missing: set[str]) -> None:
    found = summary(PLAN, verdicts(missing), [], COMPUTE, MACHINE)
    assert [row["part"] for row in found["parts"]] == PLAN.parts
    assert sum(row["run"] for row in found["parts"]) == len(missing)
    assert sum(row["run"] + row["reused"] for row in found["parts"]) == len(PLAN.steps)
    todo = [step for step in PLAN.steps if step.id in missing]
    assert found["predicted"] == asdict(estimate(PLAN, todo, [], COMPUTE, MACHINE))
    for row in found["parts"]:
        assert (row.keys() >= COSTS) == (row["run"] > 0), "a part without work has no cost"
        assert row.get("steps", 0) == row["run"]
    assert [(reason["text"], reason["steps"]) for reason in found["reasons"]] == [(NO_RECORD, len(missing))] * bool(
        missing
    )


def test_only_the_chosen_parts_are_counted_in_their_given_order() -> None:
    everything = {step.id for step in PLAN.steps}
    found = summary(PLAN, verdicts(everything), [], COMPUTE, MACHINE, ("soup", "data"))
    assert [(row["part"], row["run"]) for row in found["parts"]] == [
        (part, len(PLAN.steps_of(part))) for part in ("soup", "data")
    ]
    assert found["reasons"][0]["parts"] == ["soup", "data"]
    assert found["predicted"]["tokens"] == 0, "the stages are not run"


def test_summary_is_plain_json() -> None:
    found = summary(PLAN, verdicts({PLAN.tokenizer.id}), [], COMPUTE, MACHINE)
    assert json.loads(json.dumps(found)) == found


def test_time_is_unknown_if_the_cost_of_one_part_is() -> None:
    found = summary(PLAN, verdicts({step.id for step in PLAN.steps}), [], COMPUTE, None)
    by_part = {row["part"]: row for row in found["parts"]}
    assert by_part["data"]["minutes"] is not None and by_part["stage1"]["minutes"] is None
    assert found["predicted"]["minutes"] is None and found["predicted"]["kwh"] is None
    assert found["predicted"]["unknown"] == by_part["stage1"]["unknown"] != ""


@pytest.mark.parametrize("stage", PLAN.runs)
def test_tokens_of_a_stage_are_those_of_all_its_runs(stage: str) -> None:
    missing = {step.id for step in PLAN.steps_of(stage)}
    found = summary(PLAN, verdicts(missing), [], COMPUTE, MACHINE)
    assert found["predicted"]["tokens"] == sum(run.config.tokens for run in PLAN.runs[stage])
