"""One file and one row add an objective: the guide's example, added to a copy of the library, trains and publishes."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, blocks
from test_floors import SOURCES

from olmo_core.train.objectives.table import OBJECTIVES

ROW = "_TABLE: tuple[type[TrainingConfig], ...] = (LanguageModelling,)"
IMPORT = "from olmo_core.train.objectives.denoising import Denoising\n"
SCRIPT = Path(__file__).with_name("added_release.py")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the library with the guide's file, row and recipe."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "olmo_core", tree / "olmo_core", ignore=shutil.ignore_patterns("__pycache__"))
    file, row = (block.text for block in blocks("docs/write-an-objective.md") if block.language == "python")
    (recipe,) = (block.text for block in blocks("docs/write-an-objective.md") if block.language == "yaml")
    folder = tree / "olmo_core" / "train" / "objectives"
    (folder / "denoising.py").write_text(file)
    table = (folder / "table.py").read_text()
    assert table.count(ROW) == 1
    (folder / "table.py").write_text(table.replace(ROW, IMPORT + row))
    (tree / "added.yaml").write_text(recipe)
    return tree


def run(tree: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, *command], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tree: Path) -> dict[str, Any]:
    return dict(json.loads(run(tree, str(SCRIPT), "added.yaml", str(tree / "out"))))


def test_added_objective_reaches_published_revision(made: dict[str, Any]) -> None:
    assert made["published"] == ["stage1-step32-tokens17K"]
    (trained,) = [step["fields"] for step in made["steps"] if step["kind"] == "run"]
    assert (trained["objective"], trained["every"]) == ("denoising", 8)
    assert "z_loss" not in trained


def test_added_objective_defines_history_columns(made: dict[str, Any]) -> None:
    first, *_, last = made["history"]
    assert set(last) == {"step", "tokens", "lr", "grad_norm", "loss", "bits"}
    assert last["bits"] == pytest.approx(last["loss"] / math.log(2))
    assert first["loss"] == pytest.approx(math.log(1024), rel=0.05)  # all tokens of the vocabulary are equally likely
    assert last["loss"] < first["loss"]


def test_other_stages_keep_default_objective(made: dict[str, Any]) -> None:
    assert made["objectives"] == {"stage1": "denoising", "stage2": "language-modelling"}


def test_field_of_other_objective_is_refused(tree: Path) -> None:
    code = (
        "from olmo_core.recipe.recipe import load_recipe\n"
        "try:\n    load_recipe('added.yaml', ['--stages.stage1.z_loss=0'])\n"
        "except ValueError as error:\n    print(error)\n"
        "load_recipe('added.yaml', ['--stages.stage2.z_loss=0'])\n"
        "import sys; print('torch' in sys.modules)"
    )
    refused, heavy = run(tree, "-c", code).splitlines()
    assert "stages.stage1.z_loss (value 0): no such field; valid here:" in refused
    assert ", every, " in refused and "z_loss" not in refused.partition("valid here")[2]
    assert heavy == "False"


def test_only_objectives_folder_names_an_objective() -> None:
    own = ROOT / "olmo_core" / "train" / "objectives"
    sources = [path for path in SOURCES if own not in path.parents]
    named = [f"{path}: {name}" for path in sources for name in OBJECTIVES if mentions(path.read_text(), name)]
    assert named == []


def mentions(text: str, objective: str) -> bool:
    return re.search(objective.replace("-", "[-_ ]?"), text, re.IGNORECASE) is not None
