"""The guide keeps its word: its recipe makes a plan, its profile loads, its commands name what there is."""

import re
import shlex
from pathlib import Path

import pytest

from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.profile import load_profile
from olmo_core.recipe.recipe import load_recipe

GUIDE = (Path(__file__).parents[3] / "docs" / "train.md").read_text()
YAML = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.M | re.S)
SHELL = "".join(re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.M | re.S)).splitlines()


def test_the_recipe_and_the_profile_of_the_guide_load(tmp_path: Path) -> None:
    recipe, profile = YAML
    (tmp_path / "mine.yaml").write_text(recipe)
    plan = lay_out(load_recipe(str(tmp_path / "mine.yaml")))
    fields = plan.runs["stage1"][0].step.fields
    assert fields.keys() >= {"skip_step", "ngram_filter", "document_attention", "canonical_shards"}
    (tmp_path / "where.yaml").write_text(profile)
    assert load_profile(str(tmp_path / "where.yaml")).training.single.placement.recovery_every == 200


@pytest.mark.parametrize("line", [line for line in SHELL if "olmo_core.train" in line])
def test_the_commands_of_the_guide_name_what_there_is(line: str) -> None:
    words = shlex.split(line, comments=True)
    recipe, *options = words[words.index("olmo_core.train") + 1 :]
    stage = options[options.index("--stage") + 1]
    runs = lay_out(load_recipe(recipe, [word for word in options if word.startswith("--stages.")])).runs[stage]
    if "--seed" in options:
        assert int(options[options.index("--seed") + 1]) in [run.seed for run in runs]
