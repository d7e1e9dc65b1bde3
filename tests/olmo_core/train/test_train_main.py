"""The command `python -m olmo_core.train`, plain and under torchrun, compared with direct calls of the library.

Runs use strict mode, so that two processes give the same bits as one.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.evaluate.task import HELDOUT
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe
from olmo_core.train.__main__ import Shown, main
from olmo_core.train.history import read_history
from olmo_core.train.placement import TrainPlacement

ROOT = Path(__file__).parents[3]
OVERRIDES = [
    *("--stages.stage1.tokens=65536", "--stages.stage1.checkpoint_every=64", "--stages.stage1.precision=fp32"),
    *("--model.n_layers=1", "--tokenizer.vocab_size=384"),
    *("--stages.stage1.heldout.every=32", "--stages.stage1.heldout.source_bytes=1500"),
    "--stages.stage1.canonical_shards=2",
    "--evaluation.scoring.heldout_bytes=1500",
]
PROFILE = "training: {single: {placement: {threads: 1, compile: false}}}\n"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return lay_out(load_recipe("micro", OVERRIDES))


@pytest.fixture(scope="module")
def made(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home in which the library has made everything up to the run of stage 1."""
    home = tmp_path_factory.mktemp("made")
    store = Store(str(home / "artifacts"))
    for step in plan.runs["stage1"][0].step.closure():
        make(step, store, TrainPlacement(threads=1, compile=False))
    return home


def without_run(made: Path, home: Path, plan: Plan) -> Store:
    """Return the store of a new home that has all inputs of the run, but not the run."""
    store, target = Store(str(made / "artifacts")), home / "artifacts"
    for step in list(plan.runs["stage1"][0].step.closure())[:-1]:
        (target / step.folder).parent.mkdir(parents=True, exist_ok=True)
        (target / step.folder).symlink_to(store.base / step.folder)
    return Store(str(target))


def words(home: Path) -> list[str]:
    profile = home / "test.yaml"
    profile.write_text(PROFILE)
    return ["micro", "--stage", "stage1", "--profile", str(profile), *OVERRIDES]


def test_plain_process_makes_same_artifacts_as_library(
    plan: Plan, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, library = plan.runs["stage1"][0], Store(str(made / "artifacts"))
    store = without_run(made, tmp_path, plan)
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    assert main(words(tmp_path)) == 0
    printed = capsys.readouterr()
    assert printed.out == f"run/stage1: complete in {store.root}/{run.step.folder}\n"
    assert "stage1: 65,536 of 65,536 tokens, loss " in printed.err
    for step in (run.step, *run.checkpoints.values()):
        ours, theirs = store.peek(step), library.peek(step)
        assert ours is not None and theirs is not None and ours.digest == theirs.digest


@pytest.mark.parametrize(
    ("pressed", "number", "code", "message"),
    [
        ({512: 1}, signal.SIGINT, 130, "run/stage1 is saved at step 2"),
        ({512: 1}, signal.SIGTERM, 143, "run/stage1 is saved at step 2"),
        ({512: 2}, signal.SIGINT, 130, "what was committed is kept"),
        ({0: 1}, signal.SIGINT, 130, "what was committed is kept"),
    ],
    ids=["once", "SIGTERM", "twice", "before-the-first-step"],
)
def test_signalled_process_exits_with_its_code_and_resumes(
    pressed: dict[int, int],
    number: signal.Signals,
    code: int,
    message: str,
    plan: Plan,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store, library = without_run(made, tmp_path, plan), Store(str(made / "artifacts"))
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def press(_: Shown, done: float, *__: object, **___: object) -> None:
        for _ in range(pressed.get(int(done), 0)):
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(Shown, "__call__", press)
        assert main(words(tmp_path)) == code
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"interrupted: {message}; run the same command to go on"
    assert not list(store.base.glob("*/*/attempt-*/new-*")) and store.peek(plan.runs["stage1"][0].step) is None
    assert main(words(tmp_path)) == 0
    step = plan.runs["stage1"][0].step
    ours, theirs = store.peek(step), library.peek(step)
    assert ours is not None and theirs is not None and ours.digest == theirs.digest


def test_signalled_torchrun_resumes_with_bits_of_one_process(plan: Plan, made: Path, tmp_path: Path) -> None:
    run = plan.runs["stage1"][0]
    store, library = without_run(made, tmp_path, plan), Store(str(made / "artifacts"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "-m", "olmo_core.train"]
    environment = {**os.environ, "OLMO_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def started() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*launcher, *words(tmp_path)],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    first = started()
    assert first.stderr is not None
    lines = []
    for line in first.stderr:
        lines.append(line)
        if "stage1: 512 of" in line:
            first.send_signal(signal.SIGTERM)
    first.communicate(timeout=120)
    assert first.returncode != 0
    assert sum("interrupted: run/stage1 is saved at step " in line for line in lines) == 2, lines
    assert store.peek(run.step) is None

    second = started()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert out.count("run/stage1: complete") == 1
    for step in (run.step, *run.checkpoints.values()):
        ours, theirs = store.peek(step), library.peek(step)
        assert ours is not None and theirs is not None and ours.digest == theirs.digest


def test_user_folder_named_infra_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "infra").mkdir()
    for name in ("__init__", "profile"):
        (tmp_path / "infra" / f"{name}.py").touch()
    command = [sys.executable, "-m", "olmo_core.train", "micro", "--stage", "stage1", "--profile", "labtop"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert found.stderr.startswith("error: profile 'labtop': not known; did you mean 'laptop'?"), found.stderr


def test_heldout_scores_in_training_match_evaluation(plan: Plan, made: Path) -> None:
    run, store = plan.runs["stage1"][0], Store(str(made / "artifacts"))
    rows = {row["step"]: row for row in read_history(store.base / run.step.folder / "attempt-1" / "history.jsonl")}
    sources = [f"heldout/{name}/bits_per_byte" for name in ("narrative", "wisdom")]
    assert [step for step, row in rows.items() if sources[0] in row] == [32, 64, 96, 128]
    assert all(rows[128][source] < rows[32][source] for source in sources)
    for step in plan.result(run.checkpoints[64], HELDOUT).closure():
        result = make(step, store, TrainPlacement(threads=1, compile=False))
    scored = result.artifact.record.result["heldout"]
    assert [rows[64][source] for source in sources] == pytest.approx(
        [scored[name]["bits_per_byte"] for name in ("narrative", "wisdom")], rel=1e-6
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["micro", "--stage", "stage3"], "--stage stage3: recipe micro has stage1, stage2"),
        (["micro", "--stage", "stage2", "--seed", "7"], "--seed 7: stage stage2 has the seeds 42, 42069"),
        (["micro", "--stage", "stage1", "--stages.stage1.batch=3"], "stages.stage1.batch"),
        (["mikro", "--stage", "stage1"], "mikro"),
        (["micro", "--stage", "stage1", "--load_path", "base"], "--load_path and --reset_trainer_state: "),
        (["micro", "--stage", "stage1", "--reset_trainer_state"], "give both, or neither"),
        (["micro", "--stage", "s", "--load_path", "x", "--reset_trainer_state"], "--stage s: recipe micro has stage1"),
        (
            ["micro", "--stage", "stage1", "--load_path", "/no/base", "--reset_trainer_state"],
            "/no/base is neither a folder on this machine nor a repository; write organisation/name@revision",
        ),
        (["micro", "--stage", "stage1"], "run/stage1 needs mix/pretrain"),
    ],
)
def test_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    assert main(given) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_load_path_uses_hub_of_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(place: str, hub: str | None) -> NoReturn:
        raise ValueError(f"{place} of {hub}")

    monkeypatch.setattr("olmo_core.hub.address.pretrained_at", asked)
    (tmp_path / "where.yaml").write_text("placement: {hub: 'http://hub.example'}")
    given = ["--load_path", "org/model", "--reset_trainer_state", "--profile", str(tmp_path / "where.yaml")]
    assert main(["micro", "--stage", "stage1", *given]) == 1
    assert capsys.readouterr().err == "error: org/model of http://hub.example\n"
