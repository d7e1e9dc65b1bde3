"""Measure the time of a release, the cost of orchestration, and reuse; print a JSON line.

    python benchmarks/release.py [recipe]

It runs the recipe three times: with the `olmo` command in a new folder, again with all artifacts present, and bare in a
new folder: the same steps one after another in one process, without Prefect, Ray or MLflow. Bare training uses the
placement of a single run. Figures are seconds of wall-clock time, measured once. The breakdown of the first run's time
is printed as a table on standard error and is `where` in the JSON line.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from release_times import where_the_time_went
from rich.console import Console

from flows.cli.tables import print_table
from infra.profile import load_profile
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.hub.cache import LocalCache
from olmo_core.hub.publication import publish
from olmo_core.hub.revision import native_step
from olmo_core.hub.target import RevisionFiles
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe


def main() -> None:
    recipe = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    with tempfile.TemporaryDirectory() as folder:
        began, plan = time.time(), lay_out(load_recipe(recipe))
        first_seconds, first = olmo(recipe, Path(folder) / "release")
        where = where_the_time_went(Path(folder) / "release", plan, began, began + first_seconds)
        again_seconds, again = olmo(recipe, Path(folder) / "release")
        bare_seconds, bare = run_bare(recipe, Path(folder) / "bare")
    print_table(Console(stderr=True), f"{recipe}: {first_seconds} s", where)
    figures = {
        "recipe": recipe,
        "release_seconds": first_seconds,
        "reused_seconds": again_seconds,
        "reused_made": again["made"],
        "bare_seconds": bare_seconds,
        "orchestration_seconds": round(first_seconds - bare_seconds, 1),
        "digests_equal": first["digests"] == bare,
        "steps": len(first["digests"]),
        "rerun_for_another_seed": sorted(changed_by_a_seed(recipe)),
        "decision": first["decision"]["reason"],
        "stages": first["stages"],
        "where": where,
    }
    print(json.dumps(figures, sort_keys=True))


def olmo(recipe: str, home: Path) -> tuple[float, dict[str, Any]]:
    """Run the command; return its seconds and its output."""
    began = time.monotonic()
    command = [str(Path(sys.executable).with_name("olmo")), "run", recipe, "--json"]
    done = subprocess.run(command, env={**os.environ, "OLMO_HOME": str(home)}, stdout=subprocess.PIPE, check=True)
    return round(time.monotonic() - began, 1), json.loads(done.stdout)


def run_bare(recipe: str, home: Path) -> tuple[float, dict[str, str]]:
    """Make and publish every step in this process; return the seconds and the digests."""
    began = time.monotonic()
    plan, profile = lay_out(load_recipe(recipe)), load_profile("laptop")
    store = Store(home / "artifacts")
    for step in plan.steps:
        if step.kind != "checkpoint":  # a run commits its own
            training = plan.workers(step, profile).placement if step.kind == "run" else profile.placement
            make(step, store, training)
    target = LocalCache(home / "hub", plan.recipe.release.card.repo)
    for revision in plan.revisions:
        artifact = store.find(revision.step)
        native = store.find(native_step(artifact)) if artifact is not None else None
        assert artifact is not None and native is not None
        publish(RevisionFiles.of(artifact), native.path, target)
    return round(time.monotonic() - began, 1), digests(plan, store)


def digests(plan: Plan, store: Store) -> dict[str, str]:
    """Return label -> digest of every step's artifact."""
    return {step.label: record.digest for step in plan.steps if (record := store.peek(step)) is not None}


def changed_by_a_seed(recipe: str) -> set[str]:
    """Return the labels of the steps that change with the last seed of the last stage."""
    plan = lay_out(load_recipe(recipe))
    stage, runs = list(plan.runs.items())[-1]
    seeds = [run.seed for run in runs[:-1]] + [runs[-1].seed + 1]
    other = lay_out(load_recipe(recipe, [f"stages.{stage}.seeds={seeds}"]))
    kept = {step.id for step in plan.steps}
    return {step.label for step in other.steps if step.id not in kept}


if __name__ == "__main__":
    main()
