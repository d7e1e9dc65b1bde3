"""Tables of a release as rows of plain values, from the plan and the records alone.

The caller formats them, for a terminal, Prefect or a page.
"""

from collections.abc import Mapping
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.snapshot import Snapshot
from olmo_core.artifact.store import Store
from olmo_core.artifact.why import Explainer, Why
from olmo_core.evaluate.step import joined
from olmo_core.evaluate.task import HELDOUT
from olmo_core.recipe.plan import Plan

Row = dict[str, Any]


def plan_rows(plan: Plan, store: Store, strict_code: bool = False) -> list[Row]:
    """Return for every step whether it would be reused or run, and why."""
    return verdict_rows(plan, verdicts(plan, store.snapshot(), strict_code))


def verdicts(plan: Plan, held: Snapshot, strict_code: bool = False) -> dict[str, Why]:
    """Return id -> whether the step would be reused and why, for all steps."""
    explainer = Explainer(held, strict_code)
    return {step.id: explainer.why(step) for step in plan.steps}


def verdict_rows(plan: Plan, found: Mapping[str, Why]) -> list[Row]:
    """Return the result of `verdicts` as one row per step."""
    rows = []
    for step in plan.steps:
        verdict = found[step.id]
        action = "reuse" if verdict.hit else "run"
        rows.append({"step": step.label, "id": step.id[:12], "action": action, "why": verdict.reason})
    return rows


def mix_rows(plan: Plan, store: Store) -> list[Row]:
    """Return share, tokens and epochs of every corpus in every mix that is made, then its other recorded facts."""
    first = ("corpus", "share_asked", "share_given", "tokens", "epochs")
    rows: list[Row] = []
    for step in plan.mixes.values():
        record = store.peek(step)
        for source in record.result["sources"] if record is not None else []:
            rows.append({"mix": step.name, **{name: source[name] for name in first}, **source})
    return rows


def evaluation_rows(plan: Plan, store: Store) -> list[Row]:
    """Return a row per evaluated model: held-out bits per byte and the scores of tasks, as far as they exist."""
    rows, held = [], store.snapshot()
    for name, steps in plan.evaluated().items():
        records = [record for step in steps.values() if (record := held.peek(step)) is not None]
        if not records:
            continue
        row: Row = {"model": name}
        results = joined(record.result for record in records)
        for source, found in sorted(results["heldout"].items()):
            if found["documents"]:
                row[source] = found["bits_per_byte"]
        for task, found in sorted(results["tasks"].items()):
            short = task.partition(":")[0]
            if found["documents"]:
                row[f"{short} accuracy"] = found.get("accuracy")
                row[f"{short} bits/byte"] = found["bits_per_byte"]
        rows.append(row)
    return rows


def end_rows(plan: Plan, rows: list[Row]) -> list[Row]:
    """Select from `evaluation_rows` the last row of every run and the soups, named as in a recipe.

    A checkpoint before the end of its run includes its training step: `stage2/1@400`.
    """
    by_model = {row["model"]: row for row in rows}
    names: dict[str, str] = {}
    for stage, runs in plan.runs.items():
        for run in runs:
            done = [at for at, step in run.checkpoints.items() if step.name in by_model]
            if done:
                name = stage if run.ingredient is None else f"{stage}/{run.ingredient}"
                ended = max(done) == max(run.checkpoints)
                names[run.checkpoints[max(done)].name] = name if ended else f"{name}@{max(done)}"
    names |= {name: name for name in plan.soups if name in by_model}
    return [by_model[model] | {"model": name} for model, name in names.items()]


def stage_rows(plan: Plan, store: Store) -> list[Row]:
    """Return bits per byte on the held-out text of each stage's mix before and after the stage, and the change.

    Both are means over the corpora of the mix that have held-out text. `after` is the mean over the stage's runs,
    `before` the value of the checkpoint it started from. Stages without such text or not fully evaluated are left out.
    """
    rows = []
    for name, runs in plan.runs.items():
        corpora = plan.judged_on(runs[0])
        scores = [_bits_per_byte(plan, store, run.end, corpora) for run in runs]
        start = runs[0].step.inputs.get("start")
        before = _bits_per_byte(plan, store, start, corpora) if start is not None else None
        found = [score for score in scores if score is not None]
        if not corpora or len(found) < len(runs):
            continue
        after = sum(found) / len(found)
        change = after / before - 1 if before is not None else None
        rows.append({"stage": name, "on": ", ".join(corpora), "before": before, "after": after, "change": change})
    return rows


def _bits_per_byte(plan: Plan, store: Store, model: Step, corpora: list[str]) -> float | None:
    record = store.peek(plan.result(model, HELDOUT))
    rows = [record.result["heldout"][corpus] for corpus in corpora] if record is not None else []
    scores = [row["bits_per_byte"] for row in rows if row["documents"]]
    return float(sum(scores) / len(scores)) if scores else None


def decision(plan: Plan, store: Store) -> dict[str, Any] | None:
    """Return the decision about `main`, None if it has not been made."""
    record = store.peek(plan.decision)
    return record.result if record is not None else None
