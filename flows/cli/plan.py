"""`olmo plan`: which steps would run or be reused, why, and the cost. Nothing is started."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from flows.cli.tables import print_table
from flows.opening import Opening, open_store, read_plan
from infra.machine import cores, known_machine, measured_machine
from infra.profile import Profile, load_profile
from olmo_core.artifact.why import Why
from olmo_core.recipe.estimate import Estimate, uses_gpu
from olmo_core.recipe.fit import check_fit
from olmo_core.recipe.machine import Machine
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.quantity import show_bytes, show_count, show_duration, show_energy, show_flops
from olmo_core.report.summary import summary
from olmo_core.report.tables import verdict_rows, verdicts
from olmo_core.report.words import some
from tasks.session import target_of


def survey(recipe: str, profile: str, overrides: list[str], strict_code: bool, console: Console) -> dict[str, Any]:
    """Return which steps would run and the cost, without contacting a server.

    Raises:
        ConfigError: the recipe or the profile is not valid, or they do not fit each other.
    """
    loaded = load_profile(profile)
    plan = read_plan(recipe, overrides, loaded)
    opening = Opening(plan, loaded, open_store(loaded), plan.parts)
    found = verdicts(plan, opening.held, strict_code)
    check_fit(plan, loaded, [step for step in plan.steps if not found[step.id].hit], cores())
    return survey_plan(opening, found, console)


def survey_plan(opening: Opening, found: Mapping[str, Why], console: Console, goal: str = "") -> dict[str, Any]:
    """Return what a run of the parts of an opening does and costs.

    Args:
        opening: the plan, the parts, the profile and the store.
        found: id of a step -> whether and why it runs.
        console: shows that this machine is being measured.
        goal: where revisions go, if the target was already contacted.
    """
    plan, profile = opening.plan, opening.profile
    todo = any(not each.hit for each in found.values())
    machine = machine_of(plan, profile, console) if todo else None
    came = summary(plan, found, list(opening.held.records()) if todo else [], profile, machine, opening.parts)
    return {
        "recipe": plan.recipe.name,
        "release": plan.id,
        "profile": profile.name,
        "revisions_go_to": goal or str(target_of(profile, plan.recipe)),
        "steps": verdict_rows(plan, found),
        "over_budget": Estimate(**came["predicted"]).over(profile.budget),
        **came,
    }


def machine_of(plan: Plan, profile: Profile, console: Console) -> Machine | None:
    """Return the speed of this machine in the products of a recipe; None if all work is on a GPU."""
    if uses_gpu(profile.training.single) and uses_gpu(profile.training.seeds) and profile.placement.device == "cuda":
        return None
    if (known := known_machine(plan.recipe, profile.folder)) is not None:
        return known
    with console.status("measuring the speed of this machine, once"):
        return measured_machine(plan.recipe, profile.folder)


FIRST_PARTS, LAST_PARTS, MOST_REASONS = 8, 4, 6  # shown if there are more; they fit into 40 lines of 80 columns


def print_plan(console: Console, found: dict[str, Any]) -> None:
    """Print a survey for people: a row for each part of the release, and each reason to run steps once."""
    run, reused = (sum(row[action] for row in found["parts"]) for action in ("run", "reused"))
    what = f"{found['recipe']} ({found['release'][:12]}), profile {found['profile']}"
    if run:
        rows = [*_folded(found["parts"]), {"part": "total", "run": run, "reused": reused, **found["predicted"]}]
        print_table(console, what, [_shown(row) for row in rows])
        console.print()
    publishes = any(row["part"] == "publish" for row in found["parts"])
    goal = [f"revisions go to {found['revisions_go_to']}"] if publishes else []
    lines = [*_reasons(found), *_times(found), *goal, *(f"over budget: {each}" for each in found["over_budget"])]
    for line in lines if run else [f"{what}: nothing to run, {reused:,} steps reused", *lines]:
        console.print(line, highlight=False, markup=False, style="red" if line.startswith("over budget") else None)


def print_steps(console: Console, found: dict[str, Any]) -> None:
    """Print a line for every step: whether it runs, and why."""
    for row in found["steps"]:
        console.print(f"{row['action']:5}  {row['step']}: {row['why']}", highlight=False, markup=False, soft_wrap=True)


def _folded(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of parts, with the stages in the middle of many as one."""
    more = len(parts) - FIRST_PARTS - LAST_PARTS
    if more <= 1:
        return parts
    middle = parts[FIRST_PARTS:-LAST_PARTS]
    row: dict[str, Any] = {"part": f"{more} stages"}
    for name in ("run", "reused", "tokens", "flops", "bytes"):
        row[name] = sum(each.get(name, 0) for each in middle)
    for name in ("minutes", "kwh"):
        values = [each.get(name, 0.0) for each in middle]
        row[name] = None if None in values else sum(values)
    return [*parts[:FIRST_PARTS], row, *parts[-LAST_PARTS:]]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a plan for people; a part with nothing to run has no cost."""
    minutes, kwh = row.get("minutes"), row.get("kwh")
    costs = row["run"] > 0
    time = show_duration(60 * minutes) if minutes is not None else "not known"
    bounded = minutes is not None and not time.startswith("over")
    return {
        "part": row["part"],
        "run": row["run"],
        "reused": row["reused"],
        "tokens": show_count(row["tokens"]) if row.get("tokens") else "",
        "FLOPs": show_flops(row["flops"]) if row.get("flops") else "",
        "time": time if costs else "",
        "energy": (show_energy(kwh) if kwh is not None and bounded else "-") if costs else "",
        "disk": show_bytes(row["bytes"]) if costs else "",
    }


def _reasons(found: dict[str, Any]) -> list[str]:
    names = [row["part"] for row in found["parts"] if row["run"] or row["reused"]]
    lines = []
    for reason in found["reasons"][:MOST_REASONS]:
        began = f" ({some(reason['origins'])})" if reason["origins"] else ""
        parts = "" if reason["parts"] == names else f" of {some(reason['parts'])}"
        steps = f"{reason['steps']:,} {'step' if reason['steps'] == 1 else 'steps'}{parts}"
        reused = " reused, which `--strict-code` would rebuild" if reason["action"] == "reuse" else ""
        lines.append(f"{reason['text']}{began}: {steps}{reused}")
    if (more := len(found["reasons"]) - MOST_REASONS) > 0:
        lines.append(f"and {more:,} more reasons: `olmo plan {found['recipe']} --steps` lists those of all steps")
    return lines


def _times(found: dict[str, Any]) -> list[str]:
    """Return lines that name the basis of the predicted times, or why there are none."""
    predicted = found["predicted"]
    if predicted["unknown"]:
        return [f"time: {predicted['unknown']}"]
    bases: dict[str, list[str]] = {}
    for row in found["parts"]:
        if row.get("basis"):
            bases.setdefault(row["basis"], []).append(row["part"])
    lines = [f"time of {some(parts)}: {basis}" for basis, parts in bases.items()]
    if show_duration(60 * predicted["minutes"]).startswith("over"):
        lines.append("this needs GPUs: give a profile that has them, with `speed: {flops_per_second: ...}`")
    return lines
