"""A plan by its parts: what runs, what is reused, what it would cost, and why, as plain values."""

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
    """Return what running some parts of a plan (all, where none is named) comes to.

    Args:
        plan: the plan.
        verdicts: id of a step -> whether and why it runs.
        records: of the store, to judge the cost by.
        compute: what they run on.
        machine: what this machine does.
        parts: those that are run.

    Returns:
        `predicted`: the whole cost. `parts`: a row a part, with counts of what runs and what is reused, and its cost.
        `reasons`: why, each once.
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
