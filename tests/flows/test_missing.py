from pathlib import Path

import pytest
from report_world import fill, plan_of

from flows.missing import check_inputs, made_by
from olmo_core.artifact.make import MissingInputError
from olmo_core.artifact.store import Store

PARTS = ["data", "stage1", "stage2", "soup", "evaluate", "publish"]


def test_whole_release_needs_no_inputs(tmp_path: Path) -> None:
    check_inputs(plan_of(), Store(tmp_path).snapshot(), PARTS)


@pytest.mark.parametrize("number", range(1, len(PARTS)))
def test_part_needs_earlier_parts(number: int, tmp_path: Path) -> None:
    plan, store = plan_of(), Store(tmp_path)
    part = PARTS[number]
    with pytest.raises(MissingInputError, match=f"^{part} of micro needs "):
        check_inputs(plan, store.snapshot(), [part])
    before = {step.id for earlier in PARTS[:number] for step in made_by(plan, earlier)}
    fill(plan, store, [step for step in plan.steps if step.id in before])
    check_inputs(plan, store.snapshot(), [part])
    check_inputs(plan, store.snapshot(), PARTS[number:])


def test_complete_part_needs_no_inputs(tmp_path: Path) -> None:
    plan, store = plan_of(), Store(tmp_path)
    fill(plan, store)
    check_inputs(plan, store.snapshot(), ["publish"])


def test_only_parts_with_missing_steps_are_named(tmp_path: Path) -> None:
    plan, store = plan_of(), Store(tmp_path)
    made = {step.id for part in ("data", "stage1") for step in made_by(plan, part)}
    fill(plan, store, [step for step in plan.steps if step.id in made])
    with pytest.raises(MissingInputError) as error:
        check_inputs(plan, store.snapshot(), ["soup"])
    assert "checkpoint/stage2-ingredient1-step32" in str(error.value)
    assert str(error.value).endswith("first run `olmo run micro --only stage2`, or the deployments anneal/micro")
