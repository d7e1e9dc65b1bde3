"""A release of synthetic records: plan, store and decision are real, the other work takes no time."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from olmo_core.artifact.attempt import begin
from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.record import Record
from olmo_core.artifact.store import Store
from olmo_core.evaluate.metrics import summary
from olmo_core.evaluate.step import DOCUMENTS_FILE
from olmo_core.evaluate.table import ChoiceScore, HeldoutRow, Row, TaskRow, write_table
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe

DOCUMENTS = 6  # of each held-out source and task
CHOICES = 4
READINGS = {"kwh": 0.002, "gpu_measured_kwh": 0.0005, "cpu_estimated_kwh": 0.0015, "co2e_kg": 0.0005}  # of a run


def plan_of(recipe: str = "micro", *overrides: str) -> Plan:
    return lay_out(load_recipe(recipe, list(overrides)))


def fill(plan: Plan, store: Store, steps: Iterable[Step] | None = None) -> None:
    """Commit a record of every step, or of the given ones, inputs first; runs have energy readings."""
    for step in plan.steps if steps is None else steps:
        if step.kind == "decision":
            make(step, store)
        else:
            commit(plan, store, step)


def commit(plan: Plan, store: Store, step: Step) -> Record:
    attempt = begin(store, step)
    assert attempt is not None, f"{step.label} already exists"
    with attempt:
        result = _work(plan, step, attempt.out)
        inputs = {role: store.peek(source) for role, source in step.inputs.items()}
        energy = READINGS if step.kind == "run" else None
        return attempt.commit(result, inputs, step.work or step.inputs["run"].work, energy).record


def history(plan: Plan, run: Step) -> list[dict[str, float]]:
    """Return the history rows of a run; the loss decreases and varies slightly with the seed."""
    config = plan.run_of(run).config
    rows = []
    for step in range(1, config.steps + 1):
        loss = 4 + 5 / math.sqrt(step) + 0.1 * math.sin(step * (1 + config.seed % 7))
        row = {"loss": loss, "z_loss": 0.0, "grad_norm": 1.0, "lr": 1e-3 * (1 - step / (config.steps + 1))}
        rows.append({"step": step, "tokens": step * config.batch_tokens, **row})
    return rows


def _work(plan: Plan, step: Step, out: Path) -> dict[str, Any]:
    if step.kind in {"run", "checkpoint"}:
        rows = history(plan, step)
        if step.kind == "checkpoint":
            before = [at for at in plan.run_of(step).checkpoints if at < step.fields["step"]]
            rows = rows[max(before, default=0) : step.fields["step"]]
        (out / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return {} if step.kind == "checkpoint" else {"steps": rows[-1]["step"], "tokens": rows[-1]["tokens"]}
    if step.kind == "result":
        rows = _rows(step)
        write_table(out / DOCUMENTS_FILE, rows)
        found = summary(rows)
        for task in found["tasks"].values():
            task["primary"] = "accuracy"
        (out / "results.json").write_text(json.dumps(found))
        return found
    if step.kind == "corpus":
        shard = {"documents": 100, "bytes": 123_456}
        return {
            "documents_read": 2 * DOCUMENTS,
            "dropped": {"duplicate": 3},
            "train": [shard],
            "heldout": {"documents": DOCUMENTS},
        }
    if step.kind == "mix":
        weights = step.fields["weights"]
        each = {"share_given": 1 / len(weights), "tokens": 1000, "epochs": 0.5}
        return {"sources": [{"corpus": name, "share_asked": weights[name], **each} for name in weights]}
    if step.kind == "revision":
        roles = [role for role in step.inputs if role.startswith("export/")]
        export = step.inputs["export/soup" if "export/soup" in roles else roles[0]]
        return {"revision": step.name, "model": export.inputs["model"].id}
    return {}


def _rows(result: Step) -> list[Row]:
    """Return a model's scores on the documents of a group: better with more tokens, best for the soup."""
    random = np.random.default_rng(int(result.inputs["model"].id[:8], 16))
    model = result.inputs["model"]
    level = 2.2 + 1 / model.fields["step"] if model.kind == "checkpoint" else 2.0
    sources = [role.partition("/")[2] for role in result.inputs if role.startswith("heldout/")]
    rows: list[Row] = [
        HeldoutRow(source, str(number), 100 * (level + 0.1 * float(random.random())), 100, 30)
        for source in sources
        for number in range(DOCUMENTS)
    ]
    if "task" in result.inputs:
        for number in range(DOCUMENTS):
            chosen = [ChoiceScore(-float(value), 2, 8, 8) for value in random.random(CHOICES)]
            rows.append(TaskRow(f"{result.inputs['task'].name}:rc_0shot", number, number % CHOICES, tuple(chosen)))
    return rows
