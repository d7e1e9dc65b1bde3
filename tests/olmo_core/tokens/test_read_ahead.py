"""Batches read in the background equal those read on demand, from a store of any speed."""

import threading
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
from token_samples import mix_of, token_artifact

from olmo_core.tokens.loader import Batch, Loader
from olmo_core.tokens.ranges import RangeError
from olmo_core.tokens.read_ahead import DEPTH, read_ahead

LENGTH = 10


@pytest.fixture
def data(tmp_path: Path) -> tuple[Callable[[], Loader], Path]:
    """Return a function that makes a loader of a remote file, and the folder of the mix of an equal local file."""
    held = {"wiki/0": token_artifact(tmp_path, "wiki/0", 605)}
    content = (held["wiki/0"].path / "part.npy").read_bytes()
    fsspec.filesystem("memory").pipe_file("/wiki.npy", content)
    about = held["wiki/0"].path / "tokens.json"
    here, _ = mix_of(tmp_path, held, {"wiki": 1}, 600, LENGTH)
    about.write_text(about.read_text().replace("part.npy", "memory://wiki.npy"))
    there, _ = mix_of(tmp_path / "remote", held, {"wiki": 1}, 600, LENGTH)

    def made(mix: Path) -> Loader:
        return Loader(
            mix, {"wiki/0": held["wiki/0"].path}, seed=3, batch_size=6, sequence_length=LENGTH, vocab_size=60_000
        )

    return lambda: made(there), here


def test_batches_keep_order_from_any_step(data: tuple[Callable[[], Loader], Path]) -> None:
    remote, _ = data
    assert remote().remote
    for steps, rank, world in ((range(25), 0, 1), (range(13, 14), 0, 1), (range(7, 30), 1, 3), (range(5, 5), 0, 1)):
        with read_ahead(remote(), steps, rank, world) as batches:
            read = [batch.tokens for batch in batches]
        expected = [remote().batch(step, rank, world).tokens for step in steps]
        assert len(read) == len(expected) and all(map(np.array_equal, read, expected))


def test_remote_and_local_batches_are_equal(data: tuple[Callable[[], Loader], Path], tmp_path: Path) -> None:
    remote, here = data
    folder = {"wiki/0": tmp_path / "wiki" / "0"}
    local = Loader(here, folder, seed=3, batch_size=6, sequence_length=LENGTH, vocab_size=60_000)
    assert not local.remote
    for step in range(25):
        assert np.array_equal(local.batch(step).tokens, remote().batch(step).tokens)


def test_read_ahead_is_bounded(data: tuple[Callable[[], Loader], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    loader, ahead = data[0](), threading.Event()
    asked: list[int] = []
    read = loader.batch

    def batch(step: int, *share: int) -> Batch:
        asked.append(step)
        if step == 29:  # the first that is not consumed
            ahead.set()
        return read(step, *share)

    monkeypatch.setattr(loader, "batch", batch)
    with read_ahead(loader, range(100)) as batches:
        for taken in range(1, 30):
            next(batches)
            assert len(asked) <= taken - 1 + DEPTH
        assert ahead.wait(60)


def test_early_exit_leaves_no_thread(data: tuple[Callable[[], Loader], Path]) -> None:
    with pytest.raises(RuntimeError, match="early"), read_ahead(data[0](), range(100)) as batches:
        next(batches)
        assert [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
        raise RuntimeError("early")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_error_is_raised_at_its_batch(data: tuple[Callable[[], Loader], Path]) -> None:
    loader = data[0]()
    fsspec.filesystem("memory").pipe_file("/wiki.npy", b"\0" * 2 * LENGTH * 58)  # The last instances are missing.
    lost = [(loader.mix.locate(loader.order(6 * step, 6 * step + 6))[1] >= 58).any() for step in range(10)]
    with read_ahead(loader, range(10)) as batches:
        for _ in range(lost.index(True)):
            next(batches)
        with pytest.raises(RangeError, match=r"memory://wiki\.npy: bytes 11[68]0 to 11[79]9 cannot be read"):
            next(batches)
