"""Summary of a plan by part, as plain values: what runs, what is reused, why, and the predicted cost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.record import Record
from olmo_core.artifact.why import Why
from olmo_core.recipe.compute import Compute
from olmo_core.recipe.estimate import estimate_parts, whole
from olmo_core.recipe.machine import Machine
from olmo_core.recipe.plan import Plan
from olmo_core.report.reasons import reasons


def summary(
    plan: Plan,
    verdicts: Mapping[str, Why],
    records: Sequence[Record],
    compute: Compute,
    machine: Machine | None,
    parts: Sequence[str] = (),
) -> dict[str, Any]:
    """Summarise a run of some parts of a plan, or of all if none is named.

    Args:
        plan: the plan.
        verdicts: id of a step -> whether and why it runs.
        records: records of the store, used to predict the cost.
        compute: where the parts run.
        machine: measured speed of this machine.
        parts: the parts to run.

    Returns:
        `predicted`: the total cost. `parts`: per part, how many steps run and are reused, and the cost. `reasons`: why,
        each reason once.
    """
    steps = {part: plan.steps_of(part) for part in parts or plan.parts}
    todo = [step for own in steps.values() for step in own if not verdicts[step.id].hit]
    costs = estimate_parts(plan, todo, records, compute, machine)
    found = [(part, step, verdicts[step.id]) for part, own in steps.items() for step in own]
    return {
        "predicted": asdict(whole(costs, plan, compute, machine)),
        "parts": [
            _row(part, own, verdicts) | (asdict(costs[part]) if part in costs else {}) for part, own in steps.items()
        ],
        "reasons": [asdict(each) for each in reasons(found)],
    }


def _row(part: str, steps: Sequence[Step], verdicts: Mapping[str, Why]) -> dict[str, Any]:
    run = sum(not verdicts[step.id].hit for step in steps)
    return {"part": part, "run": run, "reused": len(steps) - run}
