"""`olmo status`: the runs and steps in the store, and the published revisions."""

from typing import Any

from rich.console import Console

from flows.cli.tables import print_table
from flows.opening import open_store
from infra.profile import load_profile
from olmo_core.artifact.record import Record
from olmo_core.hub.names import in_order
from olmo_core.recipe.kinds import RUN_KINDS
from olmo_core.recipe.quantity import show_count
from olmo_core.recipe.recipe import BUILTIN, load_recipe
from olmo_core.report.words import duration
from tasks.session import target_of


def state(recipe: str | None, profile: str) -> dict[str, list[dict[str, Any]]]:
    """Return the runs and steps of the store, and the published revisions of a recipe or of all built-in ones."""
    loaded = load_profile(profile)
    store = open_store(loaded)
    records = sorted(store.records(), key=lambda record: (record.finished, record.label))
    steps = [_summary("step", each, each.label) | {"made": each.finished} for each in records]
    runs = [
        _summary("run", each, each.name) | {"tokens": each.payload["fields"]["tokens"]}
        for each in records
        if each.kind in RUN_KINDS
    ]
    revisions = []
    for name in [recipe] if recipe is not None else sorted(each.stem for each in BUILTIN.glob("*.yaml")):
        target = target_of(loaded, load_recipe(name))
        shown = target.published()
        revisions += [{"repository": target.repo, "revision": each, "commit": shown[each]} for each in in_order(shown)]
    return {"runs": runs, "steps": steps, "revisions": revisions}


def print_state(console: Console, found: dict[str, list[dict[str, Any]]]) -> None:
    """Print the result of `state` for people: fewer columns, short times and commits, a table per repository."""
    runs = [
        {"run": row["run"], "id": row["id"], "tokens": show_count(row["tokens"]), **_made(row)} for row in found["runs"]
    ]
    print_table(console, f"{len(runs)} runs", runs)
    console.print()
    print_table(
        console, f"{len(found['steps']):,} steps", [{"step": row["step"], **_made(row)} for row in found["steps"]]
    )
    for repo in dict.fromkeys(row["repository"] for row in found["revisions"]):
        rows = [row for row in found["revisions"] if row["repository"] == repo]
        console.print()
        print_table(
            console,
            f"{len(rows)} revisions of {repo}",
            [{"revision": row["revision"], "commit": row["commit"][:12]} for row in rows],
        )


def _made(row: dict[str, Any]) -> dict[str, str]:
    return {"digest": row["digest"], "time": duration(row["seconds"])}


def _summary(noun: str, record: Record, name: str) -> dict[str, Any]:
    return {noun: name, "id": record.id[:12], "digest": record.digest[:12], "seconds": round(record.seconds, 1)}
