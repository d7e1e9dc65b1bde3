"""Which revisions of a Hub repository are evaluated, which results are missing, and the disk space of their models."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import FakeHub, Fault, Repo
from report_world import fill

from flows.missing import missing_results, to_make
from flows.repository import models_bytes, repository_plan
from infra.services.errors import ServiceError
from olmo_core.artifact.identity import Step
from olmo_core.artifact.store import Store
from olmo_core.evaluate.task import HELDOUT
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe

MICRO = load_recipe("micro")
NAMES = ["stage1-step20-tokens1K", "stage1-step100-tokens2K", "main"]


def on(plan: Plan, group: str) -> list[Step]:
    """The results of all revisions on one group."""
    return [results[group] for results in plan.published.values()]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr("olmo_core.hub.client.ATTEMPTS", 1)
    with FakeHub() as hub:
        repo = hub.repos["org/model"] = Repo()
        for name in [*NAMES, "pull-requests", "staging-stage1-step200-tokens4K"]:
            repo.branches[name] = repo.commit({"config.json": hub.blob(name.encode())}, "")
        yield hub


def test_main_and_checkpoint_branches_are_evaluated(hub: FakeHub) -> None:
    plan = repository_plan(MICRO, hub.url, "org/model", "*")
    assert list(plan.published) == NAMES
    commits = hub.repos["org/model"].branches
    assert [step.inputs["model"].fields["revision"] for step in on(plan, HELDOUT)] == [commits[n] for n in NAMES]
    assert list(repository_plan(MICRO, hub.url, "org/model", "stage1-*").published) == NAMES[:2]


@pytest.mark.parametrize(
    ("repository", "pattern", "message"),
    [
        ("org/other", "*", r"^repository org/other: http://[^ ]* shows none; correct its name"),
        (
            "org/model",
            "stage2-*",
            r"^revisions 'stage2-\*' of org/model: no such revision; there are main, stage1-",
        ),
    ],
)
def test_missing_repository_or_revision_is_named(repository: str, pattern: str, message: str, hub: FakeHub) -> None:
    with pytest.raises(ConfigError, match=message):
        repository_plan(MICRO, hub.url, repository, pattern)


def test_unreachable_hub_is_named(hub: FakeHub) -> None:
    hub.faults.append(Fault("GET .*refs", status=500, times=100))
    with pytest.raises(
        ServiceError, match=r"^repository org/model at http://.*correct hub\.endpoint or HF_TOKEN$"
    ) as told:
        repository_plan(MICRO, hub.url, "org/model", "*")
    assert "\n" not in str(told.value)


def test_only_missing_results_and_their_models_are_made(hub: FakeHub, tmp_path: Path) -> None:
    plan, store = repository_plan(MICRO, hub.url, "org/model", "*"), Store(tmp_path)
    first, *others = on(plan, HELDOUT)
    fill(plan, store, first.closure())
    empty = [step for results in plan.published.values() for step in results.values() if step is not first]
    missing = missing_results(plan, store.snapshot())
    assert [step.id for step in missing] == [step.id for step in empty] and len(empty) == 8
    made = to_make(plan, missing)
    assert made[:2] == list(plan.tasks.values()) and made[-8:] == empty
    fetched = {step.inputs[role].id for step in [first, *others] for role in ("model", "tokenizer")}
    assert {step.id for step in made[2:-8]} == fetched and len(made) == 2 + 6 + 8, "each once"
    for each in empty:
        fill(plan, store, [step for step in each.closure() if store.peek(step) is None])
    assert to_make(plan, missing_results(plan, store.snapshot())) == []


def test_a_task_that_is_added_leaves_one_cell_of_each_model_empty(hub: FakeHub, tmp_path: Path) -> None:
    before = load_recipe("micro", ["--evaluation.suite.tasks=[{name: kinds}]"])
    plan, store = repository_plan(before, hub.url, "org/model", "*"), Store(tmp_path)
    ends = [step for results in plan.published.values() for step in results.values()]
    fill(plan, store, {step.id: step for each in ends for step in each.closure()}.values())
    grown = repository_plan(MICRO, hub.url, "org/model", "*")
    missing = missing_results(grown, store.snapshot())
    assert missing == on(grown, "opposites")
    made = to_make(grown, missing)
    assert made[0] is grown.tasks["opposites"] and "kinds" not in {step.name for step in made}


def test_of_our_own_release_only_models_in_the_store_have_empty_cells(tmp_path: Path) -> None:
    plan, store = lay_out(MICRO), Store(tmp_path)
    model, *_ = plan.checkpoints()
    fill(plan, store, [*plan.steps_of("data"), *(step for step in model.closure() if step.kind == "checkpoint")])
    fill(plan, store, [plan.result(model, HELDOUT)])
    missing = missing_results(plan, store.snapshot())
    assert missing == [plan.result(model, "kinds"), plan.result(model, "opposites")]
    assert to_make(plan, missing) == [*plan.tasks.values(), *missing], "our own models and tokenizer are there"


def test_models_bytes_follow_from_first_model(hub: FakeHub) -> None:
    header = b'{"x":{"dtype":"BF16","shape":[10,3],"data_offsets":[0,60]}}'
    weights = len(header).to_bytes(8, "little") + header + bytes(60)
    repo = hub.repos["org/model"]
    repo.branches["main"] = repo.commit({"config.json": hub.blob(b"{}"), "model.safetensors": hub.blob(weights)}, "")
    models = [step.inputs["model"] for step in on(repository_plan(MICRO, hub.url, "org/model", "*"), HELDOUT)]
    assert models_bytes(models[-1:] * 3, hub.url) == 3 * 4 * 30
    assert models_bytes(models, hub.url) == 0, "the first has no safetensors, which its own step will say"
    assert models_bytes([], hub.url) == 0
