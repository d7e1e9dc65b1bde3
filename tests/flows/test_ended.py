"""A release that is interrupted several times: finished artifacts are kept, and the next run resumes."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import LIMIT_SECONDS, Terminal, olmo, plain

from olmo_core.artifact.lease import LeaseLog
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.recipe import load_recipe
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.step import RECOVERY

# Small, but each phase lasts long enough to be seen; without compilation, whose cache is outside the home.
SIZE = ["--model.n_layers=1", "--stages.stage1.tokens=131072", "--stages.stage1.checkpoint_every=64"]
LINES = 12  # maximum printed after the signal: steps made meanwhile, the last state of the bars, our line
PROFILE = "background_workers: 1\ntraining: {single: {placement: {threads: 1, compile: false}}}\n"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Yield a home with a folder for temporary files; its path is short, because the path of a socket must be."""
    home = Path(tempfile.mkdtemp(prefix="o-"))
    (home / "t").mkdir()
    (home / "eager.yaml").write_text(PROFILE)
    yield home
    shutil.rmtree(home)


def start(home: Path) -> Terminal:
    environment = {**os.environ, "OLMO_HOME": str(home), "HF_HUB_OFFLINE": "1", "TMPDIR": str(home / "t")}
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(home / "compiled")
    command = [olmo(), "run", "micro", "--profile", str(home / "eager.yaml"), *SIZE]
    return Terminal(command, home, environment)


def owned(store: Store) -> list[str]:
    """Return the steps whose lease a living process holds."""
    folders = [str(lease.parent.relative_to(store.base)) for lease in store.base.glob("*/*/lease")]
    entries = {folder: LeaseLog(store.objects, folder).last()[1] for folder in folders}
    return [folder for folder, last in entries.items() if last and last.act == "own" and not last.owner.gone()]


def end_at(phase: str, signals: list[signal.Signals], code: int, kept: str, home: Path) -> None:
    """Resume the release, and interrupt it as soon as it shows a phase."""
    store = Store(str(home / "artifacts"))
    before = {record.label for record in store.records() if record.kind != RECOVERY}
    terminal = start(home)
    terminal.until(phase)
    seen = len(terminal.output)
    for number in signals:
        terminal.press() if number == signal.SIGINT else terminal.kill(number)
    assert terminal.end() == code, terminal.output[-4000:]
    lines = plain(terminal.output[seen:])
    assert lines[-1].startswith("olmo: interrupted: ") and lines[-1].endswith("; run the same command to go on"), lines
    assert terminal.output[seen:].count("\n") <= LINES
    assert kept in lines[-1]
    assert not [line for line in lines if "Error" in line or "Traceback" in line], lines
    assert terminal.left() == []
    assert list((home / "t").iterdir()) == []
    assert owned(store) == []
    assert {record.label for record in store.records()} >= before, "finished artifacts are kept"


@pytest.mark.parametrize(
    ("phase", "kept"),
    [("made corpus/", ""), (", loss ", "; run/stage1 is saved at step ")],
    ids=["data", "training"],
)
def test_ctrl_c_leaves_nothing_behind(phase: str, kept: str, home: Path) -> None:
    end_at(phase, [signal.SIGINT], 130, kept, home)


def test_killed_release_leaves_no_process(home: Path) -> None:
    terminal = start(home)
    terminal.until(", loss ")
    terminal.kill(signal.SIGKILL)
    assert terminal.end() == -signal.SIGKILL
    end = time.monotonic() + LIMIT_SECONDS
    while left := terminal.left():
        assert time.monotonic() < end, left
        time.sleep(0.1)
    shutil.rmtree(home / "t")
    (home / "t").mkdir()


def test_resumed_release_has_same_digests_and_ends_at_sigterm(home: Path, tmp_path: Path) -> None:
    end_at("result/stage1", [signal.SIGTERM], 143, "", home)
    run = lay_out(load_recipe("micro", [word.removeprefix("--") for word in SIZE])).runs["stage1"][0]
    store, alone = Store(str(home / "artifacts")), Store(str(tmp_path))
    for step in run.step.closure():
        make(step, alone, TrainPlacement(threads=1, compile=False))
    kept = [(record, alone.peek(step)) for step in run.checkpoints.values() if (record := store.peek(step))]
    assert kept, "a result needs a checkpoint"
    assert all(other is not None and record.digest == other.digest for record, other in kept)
