import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_samples import mix_of, token_artifact

from olmo_core.tokens.loader import Loader, LoaderError
from olmo_core.tokens.mix import Manifest, MixFile, MixSource
from olmo_core.tokens.ranges import RangeError

LENGTH = 10


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """Make a mix of 77 instances from three files; ids count up, starting 2,000 apart in each file."""
    folder = tmp_path_factory.mktemp("loader")
    roles = {"wiki/0": 405, "wiki/1": 203, "books/0": 309}
    held = {role: token_artifact(folder, role, n, first=2000 * i) for i, (role, n) in enumerate(roles.items())}
    mix, _ = mix_of(folder, held, {"wiki": 5, "books": 2}, 77 * LENGTH, LENGTH)
    return mix, {role: artifact.path for role, artifact in held.items()}


def loader(data: tuple[Path, dict[str, Path]], batch_size: int = 8, seed: int = 1, vocab_size: int = 60_000) -> Loader:
    return Loader(data[0], data[1], seed=seed, batch_size=batch_size, sequence_length=LENGTH, vocab_size=vocab_size)


def test_instance_is_consecutive_tokens_of_one_file(data: tuple[Path, dict[str, Path]]) -> None:
    batch = loader(data).batch(3).tokens
    assert batch.shape == (8, LENGTH)
    assert batch.dtype == np.int64
    assert np.array_equal(batch, batch[:, :1] + np.arange(LENGTH))
    assert not np.any(batch[:, 0] % 2000 % LENGTH)


def test_batch_is_not_overwritten_by_the_next(data: tuple[Path, dict[str, Path]]) -> None:
    reader = loader(data)
    batches = [reader.batch(step).tokens for step in range(5)]
    assert all(np.array_equal(kept, loader(data).batch(step).tokens) for step, kept in enumerate(batches))


def test_each_epoch_is_the_whole_mix_in_a_new_order(data: tuple[Path, dict[str, Path]]) -> None:
    reader = loader(data, batch_size=1)
    epochs = [[int(reader.batch(77 * epoch + i).tokens[0, 0]) for i in range(77)] for epoch in range(3)]
    files = [{first // 2000 for first in epoch} for epoch in epochs]
    assert files == [{0, 1, 2}] * 3
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert sum(first // 2000 == 2 for first in epochs[0]) == 22  # books are 2/7 of 77


def test_seed_changes_only_the_order(data: tuple[Path, dict[str, Path]]) -> None:
    orders = [loader(data, batch_size=77, seed=seed).batch(0).tokens[:, 0] for seed in (1, 2, 3)]
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[1], orders[2])
    assert np.array_equal(np.sort(orders[0]), np.sort(orders[1]))


@settings(deadline=None, max_examples=40)
@given(step=st.integers(0, 40), world=st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_global_batch_is_independent_of_world_size(data: tuple[Path, dict[str, Path]], step: int, world: int) -> None:
    whole = loader(data, batch_size=12).batch(step).tokens
    shares = [loader(data, batch_size=12).batch(step, rank, world).tokens for rank in range(world)]
    assert all(share.shape == (12 // world, LENGTH) for share in shares)
    assert np.array_equal(np.stack(shares, axis=1).reshape(12, LENGTH), whole)


@settings(deadline=None, max_examples=40)
@given(steps=st.lists(st.integers(0, 2000), min_size=1, max_size=6))
def test_resuming_at_any_step_gives_the_same_batches(data: tuple[Path, dict[str, Path]], steps: list[int]) -> None:
    going_through = loader(data)
    for step in sorted(steps):
        going_through.batch(step)
    for step in steps:
        assert np.array_equal(loader(data).batch(step).tokens, going_through.batch(step).tokens)


def test_stream_is_independent_of_batch_size(data: tuple[Path, dict[str, Path]]) -> None:
    ones = [loader(data, batch_size=1).batch(i).tokens[0] for i in range(160)]
    for size in (4, 32, 160):
        reader = loader(data, batch_size=size)
        stream = np.concatenate([reader.batch(i).tokens for i in range(160 // size)])
        assert np.array_equal(stream, np.stack(ones))


def test_data_order_is_unchanged(data: tuple[Path, dict[str, Path]]) -> None:
    # Taken from the first release of this code: a change here changes every run.
    assert loader(data).batch(0).tokens[:, 0].tolist() == [4140, 2140, 2110, 2100, 140, 50, 4110, 4010]


def test_hundred_billion_tokens_need_no_index(tmp_path: Path) -> None:
    # 2^37 tokens in a sparse file: no byte is written, few are read.
    tokens, length = 2**37, 4096
    (tmp_path / "wiki").mkdir()
    with (tmp_path / "wiki" / "part.npy").open("wb") as file:
        file.truncate(tokens * 4)
    source = MixSource("wiki", tokens // length, [MixFile("wiki/0", "part.npy", tokens, tokens // length)])
    manifest = Manifest(length, 0, "uint32", 100_278, [source])
    (tmp_path / "mix.json").write_bytes(msgspec.json.encode(manifest))
    tracemalloc.start()
    reader = Loader(
        tmp_path, {"wiki/0": tmp_path / "wiki"}, seed=0, batch_size=4, sequence_length=length, vocab_size=100_352
    )
    assert reader.batch(8_000_000).tokens.shape == (4, length)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(reader) == tokens // length // 4
    assert peak < 8_000_000  # bytes; an index of the 33.5 M instances alone would take 134 MB


def test_loader_refuses_arguments_that_do_not_fit(data: tuple[Path, dict[str, Path]]) -> None:
    mix, tokens = data
    options = {"seed": 0, "batch_size": 8, "sequence_length": LENGTH, "vocab_size": 60_000}
    with pytest.raises(LoaderError, match="sequence_length is 20, the mix was made for 10"):
        Loader(mix, tokens, **options | {"sequence_length": 20})
    with pytest.raises(LoaderError, match="the model's vocabulary is 50000, the token files' is 60000"):
        Loader(mix, tokens, **options | {"vocab_size": 50_000})
    with pytest.raises(LoaderError, match=r"tokens has no folder for the inputs \['wiki/1'\]"):
        Loader(mix, {role: path for role, path in tokens.items() if role != "wiki/1"}, **options)
    with pytest.raises(LoaderError, match="batch_size is 0"):
        Loader(mix, tokens, **options | {"batch_size": 0})
    with pytest.raises(LoaderError, match="a batch of 8 is not divisible by 6 ranks; 4 would fit"):
        Loader(mix, tokens, **options).batch(0, 0, 6)


def test_wrong_id_width_or_vocabulary_is_refused(tmp_path: Path) -> None:
    held = {"wiki/0": token_artifact(tmp_path, "wiki/0", 100, first=40_000)}
    mix, _ = mix_of(tmp_path, held, {"wiki": 1}, 100, LENGTH)
    path = held["wiki/0"].path / "part.npy"
    options = {"seed": 0, "batch_size": 10, "sequence_length": LENGTH, "vocab_size": 60_000}

    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(RangeError, match=r"part\.npy: bytes 1[0-9]0 to 1[0-9]9 cannot be read: it ends at byte 150"):
        Loader(mix, {"wiki/0": path.parent}, **options).batch(0)
    np.full(100, 60_000, dtype=np.uint16).tofile(path)
    with pytest.raises(LoaderError, match=r"has id 60000 in tokens \d+ to \d+, its vocabulary ends at 59999"):
        Loader(mix, {"wiki/0": path.parent}, **options).batch(0)
