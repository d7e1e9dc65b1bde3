"""The training guides: their recipes can be planned, their profile loads, their commands run or name what exists."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import blocks

from infra.profile import load_profile
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.hub.import_model import folder_digest
from olmo_core.model.load import save_model
from olmo_core.model.transformer import Transformer
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe
from olmo_core.train.__main__ import main
from olmo_core.train.history import read_history


def texts(page: str, language: str) -> list[str]:
    """Return the blocks of a guide in one language, in order."""
    return [block.text for block in blocks(f"docs/{page}.md") if block.language == language]


(TRAINING,), (PROFILE,) = texts("train-a-model", "yaml"), texts("choose-how-training-runs", "yaml")
(LISTED, IN_PLACE), (TUNING,) = texts("read-token-files", "yaml"), texts("fine-tune", "yaml")
(TRAIN_COMMANDS,), (TUNE_COMMANDS,) = texts("train-a-model", "sh"), texts("fine-tune", "sh")


def plan_of(recipe: str, folder: Path) -> Plan:
    (folder / "mine.yaml").write_text(recipe)
    return lay_out(load_recipe(str(folder / "mine.yaml")))


def test_training_guide_recipe_uses_explained_fields(tmp_path: Path) -> None:
    fields = plan_of(TRAINING, tmp_path).runs["stage1"][0].step.fields
    assert fields.keys() >= {"skip_step", "ngram_filter", "document_attention", "canonical_shards"}


def test_guide_profile_loads(tmp_path: Path) -> None:
    (tmp_path / "where.yaml").write_text(PROFILE)
    assert load_profile(str(tmp_path / "where.yaml")).training.single.placement.recovery_every == 200


def test_guide_token_files_are_listed_or_read_in_place(tmp_path: Path) -> None:
    assert len([role for role in plan_of(LISTED, tmp_path).tokens if role.startswith("starcoder/")]) == 20
    fields = plan_of(IN_PLACE, tmp_path).tokens["dolmino-50b/00000"].fields
    assert fields.items() >= {"in_place": True, "sidecars": True}.items()


@pytest.mark.parametrize("line", [line for line in TRAIN_COMMANDS.splitlines() if "olmo_core.train" in line])
def test_guide_commands_name_existing_stages_and_seeds(line: str) -> None:
    words = shlex.split(line, comments=True)
    recipe, *options = words[words.index("olmo_core.train") + 1 :]
    stage = options[options.index("--stage") + 1]
    runs = lay_out(load_recipe(recipe, [word for word in options if word.startswith("--stages.")])).runs[stage]
    if "--seed" in options:
        assert int(options[options.index("--seed") + 1]) in [run.seed for run in runs]


def test_fine_tuning_guide_trains_model_from_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    Path("tune.yaml").write_text(TUNING)
    Path("plain.yaml").write_text("training: {single: {placement: {threads: 1, compile: false}}}")
    random, shape = np.random.default_rng(0), (40, 64)
    random.integers(0, 1024, shape).astype(np.uint16).tofile("input_ids.npy")
    mask = np.zeros(shape, dtype=bool)
    mask[:, 48:] = True
    mask.tofile("label_mask.npy")
    plan = lay_out(load_recipe("tune.yaml"))
    model = plan.recipe.shape
    Path("base").mkdir()
    weights = Transformer(model).initialize(torch.Generator().manual_seed(0)).state_dict()
    save_model(Path("base"), model, dict(weights))
    store = Store(str(tmp_path / "artifacts"))
    for step in plan.runs["tune"][0].step.inputs["mix"].closure():
        make(step, store)

    data, tune, from_hub = TUNE_COMMANDS.splitlines()
    assert data == "olmo run tune.yaml --only data"
    assert shlex.split(from_hub)[-2:] == ["allenai/OLMo-2-0425-1B@main", "--reset_trainer_state"]
    words = shlex.split(tune)
    assert words[:3] == ["python", "-m", "olmo_core.train"]
    assert main([*words[3:], "--profile", "plain.yaml"]) == 0
    (history,) = (tmp_path / "artifacts" / "run").rglob("history.jsonl")
    assert [row["targets"] for row in read_history(history)] == pytest.approx([16 / 63] * 8)

    # A recipe with this `start` plans the same run.
    start = f"{{path: {tmp_path / 'base'}, sha256: {folder_digest(Path('base'))}}}"
    planned = lay_out(load_recipe("tune.yaml", [f"--stages.tune.start={start}"])).runs["tune"][0].step
    assert store.find(planned) is not None
