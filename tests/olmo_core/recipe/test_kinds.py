"""The table of kinds has a row for every step of every recipe, and each kind belongs to a part."""

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


def test_every_kind_belongs_to_a_part() -> None:
    plan = lay_out(load_recipe("tiny"))
    made = {step.kind for step in plan.steps}
    assert KINDS.keys() - made == {RECOVERY, "pretrained", "signatures", "tags"}
    assert {kind.part for kind in KINDS.values()} == {*plan.parts, STAGE} - plan.runs.keys()


def test_checkpoints_add_no_time_to_their_run() -> None:
    assert all(KINDS[name].seconds == 0 for name in ("checkpoint", RECOVERY))
    assert {name for name, kind in KINDS.items() if kind.lane is Lane.PARENT} == {"checkpoint", RECOVERY}


def test_background_parts_are_evaluate_and_publish() -> None:
    assert BACKGROUND_PARTS == ("evaluate", "publish")


def test_unknown_kind_names_remedy() -> None:
    with pytest.raises(LookupError, match=r"^lengths: no such kind of step; add a row for it to olmo_core\.recipe\.k"):
        kind_called("lengths")
