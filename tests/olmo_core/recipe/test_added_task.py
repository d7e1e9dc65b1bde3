"""Adding a task to a complete small release makes only its items, its results and the revisions."""

import difflib

import pytest
from plans import planned

from olmo_core.artifact.make import make
from olmo_core.artifact.record import Record
from olmo_core.artifact.store import Store
from olmo_core.hub.revision import CARD_FILE
from olmo_core.recipe.plan import Plan
from olmo_core.train.placement import TrainPlacement

SIZE = (
    "--stages.stage1.tokens=4K",
    "--stages.stage1.checkpoint_every=4",
    "--stages.stage2.tokens=2K",
    "--tokenizer.vocab_size=512",
    "--evaluation.scoring.heldout_bytes=2000",
    "--release.decision.resamples=100",
)
PLACEMENT = TrainPlacement(threads=1, compile=False)


def release(*tasks: str) -> Plan:
    named = ", ".join(f"{{name: {task}, limit: 4}}" for task in tasks)
    return planned(*SIZE, f"--evaluation.suite.tasks=[{named}]")


def make_all(plan: Plan, store: Store) -> list[str]:
    """Make a release step by step; return the labels of the steps that were missing."""
    made = []
    for step in plan.steps:
        if step.kind == "checkpoint":  # its run commits it
            assert store.peek(step) is not None
        elif not make(step, store, PLACEMENT).reused:
            made.append(step.label)
    return made


def records(plan: Plan, store: Store) -> dict[str, Record]:
    return {step.label: record for step in plan.steps if (record := store.peek(step)) is not None}


def card(plan: Plan, store: Store, revision: str) -> list[str]:
    step = next(each.step for each in plan.revisions if each.name == revision)
    artifact = store.find(step)
    assert artifact is not None
    return (artifact.path / CARD_FILE).read_text().splitlines()


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Plan, Plan, list[str]]:
    """The store, the plans without and with the added task, and the labels of the steps made for it."""
    store, before, after = Store(tmp_path_factory.mktemp("store")), release("kinds"), release("kinds", "opposites")
    make_all(before, store)
    return store, before, after, make_all(after, store)


def test_only_task_results_and_revisions_are_made(grown: tuple[Store, Plan, Plan, list[str]]) -> None:
    _, _, after, made = grown
    models = [model.name for model in [*after.checkpoints(), *after.soups.values()]]
    assert len(models) == 5
    revisions = [f"revision/{revision.name}" for revision in after.revisions]
    assert sorted(made) == sorted(["task/opposites", *(f"result/{name}-opposites" for name in models), *revisions])


def test_other_records_are_unchanged(grown: tuple[Store, Plan, Plan, list[str]]) -> None:
    store, before, after, made = grown
    old, new = records(before, store), records(after, store)
    kept = {label: record for label, record in old.items() if label not in made}
    assert {label: new[label] for label in kept} == kept
    assert {"decision/main", "result/soup-heldout", "result/soup-kinds", "export/soup"} <= kept.keys()


def test_cards_differ_only_in_the_line_of_the_task(grown: tuple[Store, Plan, Plan, list[str]]) -> None:
    store, before, after, _ = grown
    for revision in (each.name for each in after.revisions):
        lines = difflib.ndiff(card(before, store, revision), card(after, store, revision))
        changed = [line for line in lines if not line.startswith(("  ", "? "))]
        (line,) = changed
        assert line.startswith("+ | opposites:rc_0shot | accuracy | "), revision
