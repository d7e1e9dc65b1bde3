"""Queries of a plan: ids, effects of a changed field, steps by label, tags, workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from computes import laptop
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import GROUPS, MICRO, MICRO_IDS, ROOT, changed, ids, of_kind, planned, resting_on, results_on

from olmo_core.artifact.identity import Step
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.recipe import Recipe, load_recipe


def test_every_step_belongs_to_one_part() -> None:
    labels = [step.label for part in MICRO.parts for step in MICRO.steps_of(part)]
    assert sorted(labels) == sorted(MICRO_IDS)
    assert MICRO.parts == ["data", "stage1", "stage2", "soup", "evaluate", "publish"]


def test_changed_seed_changes_its_run_soup_results_and_revisions() -> None:
    assert changed("--stages.stage2.seeds=[42, 7]") == {
        "run/stage2-ingredient2",
        "checkpoint/stage2-ingredient2-step32",
        "export/stage2-ingredient2-step32",
        *(f"result/stage2-ingredient2-step32-{group}" for group in GROUPS),
        "revision/stage2-ingredient2-step32-tokens17K",
        "soup/soup",
        "export/soup",
        *(f"result/soup-{group}" for group in GROUPS),
        "decision/main",
        "revision/main",
    }


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 2**31), min_size=2, max_size=4, unique=True), st.data())
def test_changed_seed_keeps_other_runs(seeds: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(seeds) - 1))
    other = data.draw(st.integers(0, 2**31).filter(lambda seed: seed not in seeds))
    before = planned(f"--stages.stage2.seeds={seeds}")
    after = planned(f"--stages.stage2.seeds={[*seeds[:place], other, *seeds[place + 1 :]]}")
    differ = {label for label, step_id in ids(before).items() if ids(after)[label] != step_id}
    assert differ == resting_on(before, {f"run/stage2-ingredient{place + 1}"})


@pytest.mark.parametrize(
    ("override", "direct"),
    [
        ("--description=Another sentence.", set()),
        ("--stages.stage1.optimizer.beta2=0.95", set()),  # the default, written out
        ("--model.context_length=128", set()),  # the preset's, written out
        ("--corpora.wisdom.heldout=0.2", {"corpus/wisdom"}),
        ("--corpora.wisdom.salt=other", {"corpus/wisdom"}),
        ("--tokenizer.vocab_size=512", of_kind("tokenizer", "run")),
        ("--tokenizer_corpora=[wisdom]", {"tokenizer/bpe"}),
        ("--mixes.anneal.weights.wisdom=4", {"mix/anneal"}),
        ("--mix_seed=1", of_kind("mix")),
        ("--model.rope_theta=10000", of_kind("run")),
        ("--stages.stage1.optimizer.weight_decay=0.05", {"run/stage1"}),
        ("--stages.stage1.schedule.peak=0.02", {"run/stage1"}),
        ("--stages.stage2.precision=fp32", {"run/stage2-ingredient1", "run/stage2-ingredient2"}),
        ("--stages.stage2.z_loss=0", {"run/stage2-ingredient1", "run/stage2-ingredient2"}),
        ("--evaluation.scoring.heldout_bytes=10000", results_on("heldout")),
        ("--evaluation.scoring.precision=bf16", of_kind("result")),
        ("--evaluation.suite.tasks=[{name: kinds, limit: 5}, {name: opposites}]", {"task/kinds"}),
        ("--evaluation.suite.seed=1", set()),  # no task of micro has a limit
        ("--evaluation.heldout=[wisdom]", results_on("heldout")),
        ("--release.decision.seed=1", {"decision/main"}),
        ("--release.dtype=bfloat16", of_kind("export")),
        ("--release.card.title=Another", of_kind("revision")),
    ],
)
def test_changed_field_changes_only_dependent_steps(override: str, direct: set[str]) -> None:
    assert changed(override) == resting_on(MICRO, direct)


TASKS = st.lists(
    st.sampled_from(["kinds", "opposites"]).flatmap(
        lambda name: st.fixed_dictionaries({"name": st.just(name), "limit": st.none() | st.integers(1, 9)})
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda task: str(task["name"]),
)


@settings(max_examples=15, deadline=None)
@given(TASKS, st.data())
def test_changed_task_changes_its_results_and_revisions(tasks: list[dict[str, object]], data: st.DataObject) -> None:
    """Other results, the decision and exports keep their ids."""
    one = data.draw(st.sampled_from(tasks))
    others = [task for task in tasks if task is not one]
    before = [{**one, "limit": 11}, *others] if data.draw(st.booleans()) else others
    old, new = (planned(f"--evaluation.suite.tasks={json.dumps(each)}") for each in (before, tasks))
    kept = {step.id for step in old.steps}
    differ = {step.label for step in new.steps if step.id not in kept}
    column = {step.label for step in new.steps if step.kind == "result" and step.name.endswith(f"-{one['name']}")}
    assert len(column) == 5, "a result for every checkpoint and the soup"
    assert differ == {f"task/{one['name']}", *column} | {step.label for step in new.steps if step.kind == "revision"}
    assert {step.label for step in old.steps} <= {step.label for step in new.steps}
    assert old.decision.id == new.decision.id


@settings(max_examples=4, deadline=None)
@given(st.permutations(["corpora", "mixes"]), st.booleans())
def test_order_of_names_does_not_change_ids(sections: list[str], reverse: bool) -> None:
    values = load_recipe("micro").model_dump(mode="json")
    for section in sections:
        values[section] = dict(sorted(values[section].items(), reverse=reverse))
        for name, mix in values["mixes"].items():
            values["mixes"][name]["weights"] = dict(sorted(mix["weights"].items(), reverse=reverse))
    assert ids(lay_out(Recipe.model_validate(values))) == MICRO_IDS


def test_ids_do_not_depend_on_machine(tmp_path: Path) -> None:
    """Another process, folder, home, hash seed and locale: the same ids."""
    code = (
        "from olmo_core.recipe.layout import lay_out; from olmo_core.recipe.recipe import load_recipe;"
        "print(lay_out(load_recipe('micro')).id)"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "77",
        "OLMO_HOME": str(tmp_path),
        "LC_ALL": "C",
        "TZ": "Asia/Tokyo",
    }
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert found.stdout.strip() == MICRO.id, found.stderr


def test_workers_come_from_profile_without_changing_ids() -> None:
    big = laptop("training.seeds.count=8", "training.seeds.gpus=1")
    before = ids(MICRO)
    seeds = MICRO.runs["stage2"][0].step
    assert MICRO.workers(seeds, big).count == 8
    assert MICRO.workers(seeds, laptop()).count == 1
    assert MICRO.workers(MICRO.runs["stage1"][0].step, big).count == 1, "a stage with one seed uses `training.single`"
    assert ids(MICRO) == before


@pytest.mark.parametrize("text", ["soup/soup", MICRO_IDS["soup/soup"], MICRO_IDS["soup/soup"][:6]])
def test_step_is_found_by_label_or_id_prefix(text: str) -> None:
    assert MICRO.step(text).label == "soup/soup"


def test_step_is_found_by_unique_name() -> None:
    assert MICRO.step("pretrain").label == "mix/pretrain"
    with pytest.raises(KeyError):
        MICRO.step("soup")  # the soup and its export


def test_unknown_step_names_nearest() -> None:
    with pytest.raises(KeyError, match="no step is called 'mix/pretrian'; nearest: mix/pretrain"):
        MICRO.step("mix/pretrian")


def test_steps_are_tagged_with_stage_and_seed() -> None:
    def tags(step: Step) -> list[str]:
        return MICRO.tags(step)

    assert tags(MICRO.step("run/stage2-ingredient2")) == ["stage2", "seed 42069"]
    assert tags(MICRO.step("result/stage1-step75-kinds")) == ["stage1", "seed 6198"]
    assert tags(MICRO.step("tokenizer/bpe")) == []
