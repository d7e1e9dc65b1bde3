"""The table of kinds has a row for every step of every recipe, and each belongs to a part of its release."""

import pytest

from olmo_core.recipe.kinds import BACKGROUND_PARTS, KINDS, STAGE, Lane, kind_called
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.recipe import BUILTIN, load_recipe
from olmo_core.train.step import RECOVERY

RECIPES = sorted(path.stem for path in BUILTIN.glob("*.yaml"))


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name in ("micro", "tiny", "olmo2-1b", "olmo1-1b")])
def test_every_step_of_a_release_belongs_to_one_part(recipe: str) -> None:
    plan = lay_out(load_recipe(recipe))
    steps = [step.id for part in plan.parts for step in plan.steps_of(part)]
    assert sorted(steps) == sorted(step.id for step in plan.steps)


def test_every_kind_is_a_part_of_some_release() -> None:
    plan = lay_out(load_recipe("tiny"))
    made = {step.kind for step in plan.steps}
    assert KINDS.keys() - made == {RECOVERY, "pretrained"}
    assert {kind.part for kind in KINDS.values()} == {*plan.parts, STAGE} - plan.runs.keys()


def test_what_a_run_commits_costs_nothing_beside_it() -> None:
    assert all(KINDS[name].seconds == 0 for name in ("checkpoint", RECOVERY))
    assert {name for name, kind in KINDS.items() if kind.lane is Lane.PARENT} == {"checkpoint", RECOVERY}


def test_evaluation_and_publishing_leave_training_alone() -> None:
    assert BACKGROUND_PARTS == ("evaluate", "publish")


def test_a_kind_without_a_row_is_named_with_the_remedy() -> None:
    with pytest.raises(LookupError, match=r"^lengths: no such kind of step; add a row for it to olmo_core\.recipe\.k"):
        kind_called("lengths")
