"""A stage can change fields of its model that keep the weights; later stages inherit the change."""

import pytest
from computes import laptop

from olmo_core.recipe.estimate import estimate_parts
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.recipe import Recipe, load_recipe

LONGER = "--stages.stage2.model={context_length: 512, rope_theta: 8000000.0}"
LAST = "--stages.last={start: soup, mix: anneal, tokens: 16K, seeds: [1], batch_size: 4, sequence_length: 256, " + (
    "checkpoint_every: 1000, schedule: {kind: linear, peak: 1.0e-3}}"
)


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("micro", [LONGER, LAST])


def test_runs_train_the_model_of_their_stage(recipe: Recipe) -> None:
    plan = lay_out(recipe)
    before, after = plan.runs["stage1"][0], plan.runs["stage2"][0]
    assert before.model == recipe.shape
    assert after.model == recipe.shape.model_copy(update={"context_length": 512, "rope_theta": 8e6})
    assert after.step.fields["model"]["rope_theta"] == 8e6
    assert after.step.fields["changed"] == ["context_length", "rope_theta"]


def test_stage_inherits_model_of_its_start(recipe: Recipe) -> None:
    run = lay_out(recipe).runs["last"][0]
    assert (run.model.context_length, run.model.rope_theta) == (512, 8e6)
    assert "changed" not in run.step.fields


def test_other_stages_keep_their_ids() -> None:
    plan, plain = lay_out(load_recipe("micro", [LONGER])), lay_out(load_recipe("micro"))
    assert plan.runs["stage1"] == plain.runs["stage1"]
    assert plan.runs["stage2"][0].step.id != plain.runs["stage2"][0].step.id


def test_flops_follow_the_model_of_the_stage() -> None:
    change = ["--stages.stage2.model={context_length: 2048}", "--stages.stage2.sequence_length=1024"]
    flops = [
        estimate_parts(plan, plan.steps, (), laptop())["stage2"].flops
        for plan in (lay_out(load_recipe("micro")), lay_out(load_recipe("micro", change)))
    ]
    model = load_recipe("micro").shape
    assert flops[1] / flops[0] == pytest.approx(model.flops_per_token(1024) / model.flops_per_token(64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "--stages.stage2.model={n_layers: 4}",
            r"stages\.stage2\.model\.n_layers .*: no such field; valid here: context_length, rope",
        ),
        ("--stages.stage2.model={rope_theta: -1}", r"stages\.stage2\.model\.rope_theta"),
        ("--stages.stage2.sequence_length=256", r"stage2\.sequence_length 256 is longer .* in stages\.stage2\.model"),
        ("--soups.soup.ingredients=[stage1, stage2]", "stage1 and stage2 have models of different shapes"),
    ],
)
def test_invalid_model_change_is_refused(change: str, message: str) -> None:
    changes = [change] if "ingredients" not in change else [LONGER, change]
    with pytest.raises(ConfigError, match=message):
        load_recipe("micro", changes)
