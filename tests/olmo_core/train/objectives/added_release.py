"""Make and publish the first revision of a recipe with an added objective: `added_release.py RECIPE FOLDER`."""

import json
import sys
from pathlib import Path

from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.hub.cache import LocalCache
from olmo_core.hub.publication import publish
from olmo_core.hub.revision import native_step
from olmo_core.hub.target import RevisionFiles
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.recipe import load_recipe
from olmo_core.train.placement import TrainPlacement


def main(recipe: str, folder: Path) -> None:
    plan = lay_out(load_recipe(recipe, ["--stages.stage1.tokens=16K", "--stages.stage1.checkpoint_every=100"]))
    store, placement = Store(folder / "artifacts"), TrainPlacement(threads=1, compile=False)
    first, run = plan.revisions[0], plan.runs["stage1"][0]
    for step in first.step.closure():
        if step.kind != "checkpoint":  # checkpoints are committed by their run
            make(step, store, placement)
    revision, history = store.find(first.step), store.find(run.step)
    assert revision is not None and history is not None
    target = LocalCache(folder / "hub", "olmo/added")
    native = store.find(native_step(revision))
    assert native is not None
    publish(RevisionFiles.of(revision), native.path, target)
    print(
        json.dumps(
            {
                "published": sorted(target.published()),
                "history": [json.loads(line) for line in (history.path / "history.jsonl").read_text().splitlines()],
                "steps": json.loads((revision.path / "lineage.json").read_text())["steps"],
                "objectives": {name: runs[0].config.objective for name, runs in plan.runs.items()},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
