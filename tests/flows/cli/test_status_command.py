"""`olmo status`: the records of the store in the order they were made, and the revisions of each repository."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from report_world import commit
from rich.console import Console

from flows.cli.status import print_state, state
from olmo_core.artifact.store import Store
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe


@pytest.fixture(scope="module")
def home(plan: Plan, store: Store, empty_home: Path) -> Path:
    """A home with the tokenizer and what it is made from, two runs without their inputs, and two repositories."""
    for step in (*plan.tokenizer.closure(), *(run.step for run in plan.runs["stage2"])):
        commit(plan, store, step)
    checkpoints = ["stage1-step100-tokens52K", "stage1-step75-tokens39K"]
    for recipe, names in (("micro", ["main", *checkpoints]), ("tiny", ["main"])):
        refs = empty_home / "hub" / f"models--{load_recipe(recipe).release.card.repo.replace('/', '--')}" / "refs"
        refs.mkdir(parents=True)
        for name in names:
            (refs / name).write_text(name.encode().hex().ljust(40, "0")[:40])
    return empty_home


@pytest.fixture
def found(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    monkeypatch.setenv("OLMO_HOME", str(home))
    return state("micro", "laptop")


def test_steps_are_all_records_in_the_order_they_were_made(found: dict[str, list[dict[str, Any]]], plan: Plan) -> None:
    labels = [step.label for step in (*plan.tokenizer.closure(), *(run.step for run in plan.runs["stage2"]))]
    assert [row["step"] for row in found["steps"]] == labels
    assert [row["made"] for row in found["steps"]] == sorted(row["made"] for row in found["steps"])


def test_runs_have_their_tokens_and_short_ids(found: dict[str, list[dict[str, Any]]], plan: Plan) -> None:
    assert [(row["run"], row["id"], row["tokens"]) for row in found["runs"]] == [
        (run.step.name, run.step.id[:12], run.config.tokens) for run in plan.runs["stage2"]
    ]
    assert all(len(row["digest"]) == 12 for row in found["runs"] + found["steps"])


def test_revisions_are_in_order_with_main_last(found: dict[str, list[dict[str, Any]]]) -> None:
    assert [(row["repository"], row["revision"]) for row in found["revisions"]] == [
        ("olmo-release/micro", "stage1-step75-tokens39K"),
        ("olmo-release/micro", "stage1-step100-tokens52K"),
        ("olmo-release/micro", "main"),
    ]
    assert {len(row["commit"]) for row in found["revisions"]} == {40}


def test_revisions_of_all_recipes_are_listed_without_a_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLMO_HOME", str(home))
    built_in = SimpleNamespace(glob=lambda _: [Path("tiny.yaml"), Path("micro.yaml")])
    monkeypatch.setattr("flows.cli.status.BUILTIN", built_in)
    repositories = [row["repository"] for row in state(None, "laptop")["revisions"]]
    assert repositories == ["olmo-release/micro"] * 3 + ["olmo-release/tiny"]


def test_empty_home_has_nothing_and_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path / "new"))
    assert state("micro", "laptop") == {"runs": [], "steps": [], "revisions": []}
    assert not (tmp_path / "new").exists()


def test_unknown_recipe_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLMO_HOME", str(home))
    with pytest.raises(ConfigError, match=r"mikro.*did you mean 'micro'"):
        state("mikro", "laptop")


def test_printed_state_has_a_table_for_each_repository() -> None:
    row = {"id": "a" * 12, "digest": "d" * 12, "seconds": 75.2}
    revision = {"revision": "main", "commit": "0123456789ab" + "f" * 28}
    console = Console(file=io.StringIO(), width=80)
    print_state(
        console,
        {
            "runs": [{"run": "stage1", "tokens": 2_050_000, **row}] * 2,
            "steps": [{"step": "run/stage1", "made": "2026-01-01", **row}] * 1200,
            "revisions": [
                {"repository": "org/a", **revision},
                {"repository": "org/b", **revision},
                {"repository": "org/a", **revision, "revision": "stage1-step1"},
                {"repository": "org/b", **revision, "revision": "stage1-step2"},
            ],
        },
    )
    text = console.file.getvalue()  # type: ignore[attr-defined]
    titles = [block.partition("\n")[0] for block in text.split("\n\n")]
    assert titles == ["2 runs", "1,200 steps", "2 revisions of org/a", "2 revisions of org/b"]
    assert "stage1  aaaaaaaaaaaa   2.05M  dddddddddddd  1 min 15 s" in text
    assert "main          0123456789ab\n" in text and "f" * 12 not in text
    assert "2026-01-01" not in text, "times of making are in the JSON"
