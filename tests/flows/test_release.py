"""The whole release with `olmo run micro`: real Prefect server, Ray, MLflow and Hub cache."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import at_test_size, reader_environment, serve, shell
from pages import PAGES, Block, blocks

from olmo_core.artifact.store import Store

BLOCKS = [block for page in PAGES for block in blocks(page) if block.how.startswith(("run", "serve"))]
(RUNS,) = (block for block in BLOCKS if "olmo run tiny" in block.text)  # a second run, and parts of it
COMMANDS = [block for block in BLOCKS if block is not RUNS]
LIMIT_SECONDS = 900  # for a command; a release of micro takes about 100 s on two free cores


def start(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start the command in a folder with packages of the same names as ours, as a user's project may have."""
    environment = {**os.environ, "OLMO_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    for package in ("flows", "infra", "tasks", "olmo_core"):
        (home / "project" / package).mkdir(parents=True, exist_ok=True)
        (home / "project" / package / "__init__.py").write_text(
            "raise ImportError('this is not the package you want')\n"
        )
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("olmo")), *arguments],
        cwd=home / "project",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def olmo(home: Path, *arguments: str, code: int = 0) -> str:
    process = start(home, *arguments)
    try:
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == code, err[-4000:]
    return out if code == 0 else err


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def release(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(olmo(home, "run", "micro", "--json"))
    return found


def test_release_makes_every_step_and_decides_main(release: dict[str, Any]) -> None:
    assert release["reused"] == 0
    assert set(release["made"]) >= {"run/stage1", "soup/soup", "decision/main", "revision/main"}
    assert release["decision"]["main"] in release["decision"]["candidates"]
    assert {row["model"] for row in release["evaluation"]} >= {"stage1-step75", "soup"}
    assert "main" in release["revisions"]


def test_every_revision_loads_in_transformers_offline(home: Path, release: dict[str, Any]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    repo = "olmo-release/micro"
    for revision in release["revisions"]:
        where = {"revision": revision, "cache_dir": str(home / "hub"), "local_files_only": True}
        model = AutoModelForCausalLM.from_pretrained(repo, **where)
        tokens = AutoTokenizer.from_pretrained(repo, **where)("In the beginning", return_tensors="pt")
        with torch.no_grad():
            assert torch.isfinite(model(**tokens).logits).all()
    assert len(release["revisions"]) == 5


def test_lineage_is_in_mlflow(home: Path, release: dict[str, Any]) -> None:
    with sqlite3.connect(home / "mlflow.db") as database:
        tags = "select distinct value from tags where key = 'olmo.artifact_id'"
        runs = {value for (value,) in database.execute(tags)}
        aliases = database.execute("select alias, version from registered_model_aliases").fetchall()
        losses = database.execute(
            "select count(distinct step), count(*) from metrics where key = 'train/loss'"
        ).fetchone()
    steps = json.loads(olmo(home, "plan", "micro", "--json"))["steps"]
    assert len(runs) == len(steps)
    assert {alias for alias, _ in aliases} == set(release["revisions"])
    assert losses == (125, 125 + 2 * 32)  # every step of stage 1 and of the two runs of stage 2, once each


def test_plan_and_why_after_a_changed_seed(home: Path, release: dict[str, Any]) -> None:
    override = "--stages.stage2.seeds=[42,7]"
    steps = json.loads(olmo(home, "plan", "micro", override, "--json"))["steps"]
    others = {step["step"] for step in steps if step["action"] == "run"}
    run = "stage2-ingredient2"
    checkpoint = f"{run}-step32"
    assert others == {
        f"run/{run}",
        *(f"{kind}/{checkpoint}" for kind in ("checkpoint", "export")),
        *(f"result/{model}-{group}" for model in (checkpoint, "soup") for group in ("heldout", "kinds", "opposites")),
        f"revision/{run}-step32-tokens17K",
        *(f"{kind}/soup" for kind in ("soup", "export")),
        "decision/main",
        "revision/main",
    }
    found = json.loads(olmo(home, "why", "micro", "soup/soup", override, "--json"))
    assert not found["hit"]
    assert any("seed" in line and "42069" in line for line in found["differences"])
    assert json.loads(olmo(home, "why", "micro", "soup/soup", "--json"))["hit"]


def test_status_lists_store_and_revisions(home: Path, release: dict[str, Any]) -> None:
    found = json.loads(olmo(home, "status", "micro", "--json"))
    assert {row["step"] for row in found["steps"]} == set(release["digests"])
    assert [row["revision"] for row in found["revisions"]][-1] == "main"


@pytest.fixture(scope="module")
def reader(home: Path, release: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a reader of the guides, with the finished release."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / ".olmo").symlink_to(home)
    return folder


def test_second_run_reuses_every_artifact(home: Path, release: dict[str, Any], reader: Path) -> None:
    store = Store(home / "artifacts")
    before = list(store.records())
    shell(at_test_size(RUNS.text), reader, reader_environment())
    assert list(store.records()) == before
    assert {record.label: record.digest for record in before} == release["digests"]
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        states = dict(database.execute("select name, count(*) from task_run_state group by name"))
    assert states["Cached"] >= len([label for label in release["digests"] if not label.startswith("checkpoint/")])


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_commands_of_the_guides(block: Block, reader: Path) -> None:
    text = at_test_size(block.text)
    if block.language == "python":
        (reader / "block.py").write_text(text)
        shell(f"{sys.executable} block.py", reader, reader_environment())
    elif block.how == "run":
        shell(text, reader, reader_environment())
    else:
        written = block.how.split()[1]
        assert written in text
        port = str(free_port())
        serve(text.replace(written, port), f"http://127.0.0.1:{port}/", reader, reader_environment())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_single_part_names_missing_step(tmp_path: Path) -> None:
    message = " ".join(olmo(tmp_path, "run", "micro", "--only", "soup", code=2).split())
    assert message.startswith("olmo: soup of micro needs ")
    assert "checkpoint/stage2-ingredient1-step32, not found in" in message
    assert "`olmo run micro --only stage2`, or the deployments data/micro, anneal/micro" in message
    assert not (tmp_path / "artifacts").exists()


def test_bad_input_prints_one_line_before_start(tmp_path: Path) -> None:
    for arguments, words in (
        (("run", "mikro"), ("mikro", "'micro'")),
        (("run", "micro", "--stages.stage1.tokns=5"), ("stages.stage1.tokns", "'tokens'")),
        (("run", "micro", "--only", "stage3"), ("stage3", "stage2")),
        (("why", "micro", "soup/sop"), ("soup/sop", "soup/soup")),
        (("run", "micro", "--profile", "laptp"), ("laptp", "'laptop'")),
    ):
        message = olmo(tmp_path, *arguments, code=2)
        assert "Traceback" not in message
        assert all(word in message for word in words), message
    assert not (tmp_path / "artifacts").exists()


def test_plan_over_budget_exits_with_3(tmp_path: Path) -> None:
    profile = tmp_path / "poor.yaml"
    profile.write_text("budget: {minutes: 0.01}\n")
    process = start(tmp_path, "plan", "micro", "--profile", str(profile))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "over budget" in out
