"""What `olmo plan`, `why` and `status` answer: read from the recipe and the store, nothing is started."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from rich.console import Console

from flows.display import print_table
from flows.opening import open_store, read_plan
from olmo_core.artifact.record import Record
from olmo_core.artifact.why import why
from olmo_core.hub.names import in_order
from olmo_core.recipe.estimate import Estimate, estimate
from olmo_core.recipe.profile import load_profile
from olmo_core.recipe.quantity import show_count
from olmo_core.recipe.recipe import BUILTIN, load_recipe
from olmo_core.report.tables import plan_rows
from tasks.session import target_of


def survey(recipe: str, profile: str, overrides: list[str], strict_code: bool) -> dict[str, Any]:
    """Return what would run and what it would cost."""
    plan, loaded = read_plan(recipe, overrides), load_profile(profile)
    store = open_store(loaded)
    rows = plan_rows(plan, store, strict_code)
    todo = [step for step, row in zip(plan.steps, rows, strict=True) if row["action"] == "run"]
    cost = estimate(plan, todo, store.records(), loaded)
    return {
        "recipe": plan.recipe.name,
        "release": plan.id,
        "profile": loaded.name,
        "revisions_go_to": str(target_of(loaded, plan.recipe)),
        "steps": rows,
        "predicted": asdict(cost),
        "over_budget": cost.over(loaded.budget),
    }


def print_plan(console: Console, found: dict[str, Any]) -> None:
    """Print a survey for people."""
    print_table(console, f"plan of {found['recipe']} ({found['release'][:12]})", found["steps"])
    counts = Counter(row["action"] for row in found["steps"])
    cost = Estimate(**found["predicted"])
    console.print(
        f"{counts['run']} steps to run, {counts['reuse']} reused; predicted: {show_count(cost.tokens)} tokens, "
        f"{cost.flops:.3g} FLOPs, {cost.minutes:.1f} min, {cost.kwh:.2g} kWh, {show_count(cost.bytes)} bytes of disk",
        highlight=False,
    )
    console.print(f"revisions go to {found['revisions_go_to']}", highlight=False, markup=False)
    for line in found["over_budget"]:
        console.print(f"over budget: {line}", style="red", highlight=False)


def explain(recipe: str, profile: str, overrides: list[str], label: str, strict_code: bool) -> dict[str, Any]:
    """Return whether a step would be reused, and what differs if not."""
    plan = read_plan(recipe, overrides)
    step = plan.step(label)
    found = why(step, open_store(load_profile(profile)), strict_code)
    return {
        "step": step.label,
        "id": step.id,
        "hit": found.hit,
        "reason": found.reason,
        "differences": [str(each) for each in found.differences],
        "code_changed": list(found.code_changed),
    }


def print_why(console: Console, found: dict[str, Any]) -> None:
    """Print an explanation for people."""
    verdict = "hit" if found["hit"] else "miss"
    console.print(f"{found['step']} ({found['id'][:12]}): {verdict}: {found['reason']}", highlight=False, markup=False)
    for line in found["differences"]:
        console.print(f"  {line}", highlight=False, markup=False)


def state(recipe: str | None, profile: str) -> dict[str, list[dict[str, Any]]]:
    """Return the runs and steps of the store, and the revisions of a recipe or of all that were published here."""
    loaded = load_profile(profile)
    store = open_store(loaded)
    records = sorted(store.records(), key=lambda record: (record.finished, record.label))
    steps = [_summary("step", each, each.label) | {"made": each.finished} for each in records]
    runs = [
        _summary("run", each, each.name) | {"tokens": each.payload["fields"]["tokens"]}
        for each in records
        if each.kind == "run"
    ]
    revisions = []
    for name in [recipe] if recipe is not None else sorted(each.stem for each in BUILTIN.glob("*.yaml")):
        target = target_of(loaded, load_recipe(name))
        shown = target.published()
        revisions += [{"repository": target.repo, "revision": each, "commit": shown[each]} for each in in_order(shown)]
    return {"runs": runs, "steps": steps, "revisions": revisions}


def _summary(noun: str, record: Record, name: str) -> dict[str, Any]:
    return {noun: name, "id": record.id[:12], "digest": record.digest[:12], "seconds": round(record.seconds, 1)}
