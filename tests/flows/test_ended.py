"""Ctrl-C in a terminal while a whole release runs: it ends in seconds, keeps what it has, and goes on next time."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import Terminal, olmo, plain

from olmo_core.artifact.lease import LeaseLog
from olmo_core.artifact.store import Store

# Small, but each phase lasts long enough to be seen; without compilation, whose cache is no part of a home.
SIZE = ["--model.n_layers=1", "--stages.stage1.tokens=131072", "--stages.stage1.checkpoint_every=64"]
LINES = 12  # the most that are printed from the signal on: what is made meanwhile, the last state of the bars, our line
PROFILE = "training: {single: {placement: {threads: 1, compile: false}}}\n"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home, and a folder for temporary files in it; its path is short, because that of a socket has to be."""
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


@pytest.mark.parametrize(
    ("phase", "signals", "code", "kept"),
    [
        ("made corpus/", [signal.SIGINT], 130, ""),
        (", loss ", [signal.SIGINT], 130, "; run/stage1 is saved at step "),
        ("result/stage1", [signal.SIGTERM], 143, ""),
    ],
    ids=["data", "training", "evaluation"],
)
def test_a_release_that_is_asked_to_end_leaves_nothing_behind_and_goes_on(
    phase: str, signals: list[signal.Signals], code: int, kept: str, home: Path
) -> None:
    store = Store(str(home / "artifacts"))
    before = len(list(store.records()))
    terminal = start(home)
    terminal.until(phase)
    seen = len(terminal.said)
    for number in signals:
        terminal.press() if number == signal.SIGINT else terminal.kill(number)
    assert terminal.end() == code, terminal.said[-4000:]
    said = plain(terminal.said[seen:])
    assert said[-1].startswith("olmo: interrupted: ") and said[-1].endswith("; run the same command to go on"), said
    assert terminal.said[seen:].count("\n") <= LINES
    assert kept in said[-1]
    assert not [line for line in said if "Error" in line or "Traceback" in line], said
    assert terminal.left() == []
    assert list((home / "t").iterdir()) == []
    assert owned(store) == []
    assert len(list(store.records())) > before
