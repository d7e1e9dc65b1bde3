"""Several ranks compared with one process: losses, checkpoints, bits in strict mode, stopping together."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rank_work
from training_world import run

from olmo_core.artifact.store import Store
from olmo_core.train.distributed.launch import make_run
from olmo_core.train.history import read_history

Results = list[dict[str, Any]]


def on_ranks(count: int, folder: Path) -> Results:
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[3])])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "2"}
    command = [sys.executable, rank_work.__file__]
    ranks = [
        subprocess.Popen([*command, str(rank), str(count), str(folder)], env=environment, stdout=subprocess.PIPE)
        for rank in range(count)
    ]
    printed = [rank.communicate(timeout=120)[0].decode() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * count
    return [json.loads(text.splitlines()[-1]) for text in printed]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def two(folder: Path) -> Results:
    return on_ranks(2, folder)


@pytest.fixture(scope="module")
def four(folder: Path, two: Results) -> Results:
    """Results of four ranks; requires `two`, because they read its checkpoint."""
    return on_ranks(4, folder)


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Any]:
    return rank_work.losses(folder / "alone", rank_work.UNEVEN)


@pytest.mark.parametrize(("way", "count"), [("replicate", 2), ("shard", 2), ("hybrid", 4)])
def test_losses_match_single_process(alone: dict[str, Any], request: Any, way: str, count: int) -> None:
    results = [each[way] for each in request.getfixturevalue({2: "two", 4: "four"}[count])]
    assert all(each == results[0] for each in results)
    for ours, theirs in zip([*results[0]["seen"], results[0]["on"]], [*alone["seen"], alone["on"]], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert results[0]["resumed"] == results[0]["on"]
    assert results[0]["heldout"] == pytest.approx(alone["heldout"], rel=1e-5)
    assert alone["heldout"].keys() == {"heldout/3/bits_per_byte", "heldout/4/bits_per_byte"}


def test_sharded_tied_weights_match_single_process(two: Results, folder: Path) -> None:
    theirs = rank_work.losses(folder / "tied-alone", rank_work.TIED)
    for ours, expected in zip(two[0]["tied"]["seen"], theirs["seen"], strict=True):
        assert ours == pytest.approx(expected, rel=1e-5)


def test_checkpoint_loads_on_any_number_of_ranks(two: Results, four: Results, folder: Path) -> None:
    written = two[0]["shard"]["on"]
    assert four[0]["read_back"] == pytest.approx(written, rel=1e-5)
    assert rank_work.read_back(folder / "shard" / "kept") == pytest.approx(written, rel=1e-5)
    for kept in ("shard", "replicate", "hybrid"):
        sizes = {path.name: path.stat().st_size for path in (folder / kept / "kept").iterdir()}
        alone = {path.name: path.stat().st_size for path in (folder / "shard" / "kept").iterdir()}
        assert {name: sizes[name] for name in sizes if "safetensors" in name} == {
            name: alone[name] for name in alone if "safetensors" in name
        }


def test_canonical_shards_give_same_bits_on_any_number_of_ranks(two: Results, four: Results) -> None:
    alone = rank_work.canonical()
    assert all(each["canonical"] == alone for each in (*two, *four))


def test_all_ranks_stop_at_same_step_and_resume(two: Results, folder: Path) -> None:
    message = "run/run is saved at step 12"
    assert [each["preempted"] for each in two] == [[message], [message]]
    store = Store(str(folder / "preempted"))
    artifact = store.find(run(store, rank_work.preemptible()))
    assert artifact is not None
    rows = read_history(artifact.path / "history.jsonl")
    other = Store(str(folder / "preempted-alone"))
    make_run(run(other, rank_work.preemptible()), other, rank_work.placement())
    expected = other.find(run(other, rank_work.preemptible()))
    assert expected is not None
    assert [row["step"] for row in rows] == list(range(1, 25))
    for ours, theirs in zip(rows, read_history(expected.path / "history.jsonl"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours == pytest.approx(theirs, rel=1e-3)
