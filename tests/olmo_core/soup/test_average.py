import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

from olmo_core.soup import average as module
from olmo_core.soup.average import average

Checkpoint = Callable[..., Path]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_mean_equals_numpy_bitwise(checkpoint: Checkpoint, tmp_path: Path, count: int) -> None:
    folders = {f"seed {seed}": checkpoint(seed) for seed in range(count)}
    average(folders, tmp_path / "soup")
    weights = [load_file(folder / "model.safetensors") for folder in folders.values()]
    mean = {
        name: (np.sum([w[name].astype(np.float64) for w in weights], axis=0) / count).astype(np.float32)
        for name in weights[0]
    }
    save_file({name: np.asarray(values) for name, values in mean.items()}, tmp_path / "expected")
    assert (tmp_path / "soup").read_bytes() == (tmp_path / "expected").read_bytes()


def test_sums_are_kept_in_fp64(checkpoint: Checkpoint, tmp_path: Path) -> None:
    values = [1.0, 2.0**-30, 2.0**-30, -1.0]  # In fp32 adding the small ones to 1 would lose them.
    folders = {}
    for number, value in enumerate(values):
        folders[str(number)] = folder = tmp_path / str(number)
        folder.mkdir()
        save_file({"w": np.full(3, value, np.float32)}, folder / "model.safetensors")
    average(folders, tmp_path / "soup")
    assert load_file(tmp_path / "soup")["w"].tolist() == [2.0**-31] * 3


def test_mean_of_bf16_equals_torch(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [{"w": torch.randn(300, 70, generator=generator).bfloat16()} for _ in range(3)]
    for number, weights in enumerate(tensors):
        (tmp_path / str(number)).mkdir()
        save_torch(weights, tmp_path / str(number) / "model.safetensors")
    average({str(number): tmp_path / str(number) for number in range(3)}, tmp_path / "soup")
    found = load_torch(tmp_path / "soup")["w"]
    assert found.dtype == torch.bfloat16
    expected = torch.stack([weights["w"].double() for weights in tensors]).mean(0).bfloat16()
    assert torch.equal(found, expected)


def test_threads_and_piece_size_do_not_change_bytes(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {str(seed): checkpoint(seed) for seed in range(3)}
    one = average(folders, tmp_path / "one", threads=1)
    monkeypatch.setattr(module, "PIECE", 101)
    assert average(folders, tmp_path / "two", threads=3) == one
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_memory_does_not_depend_on_model_size(checkpoint: Checkpoint, tmp_path: Path) -> None:
    def peak(rows: int, seed: int) -> int:
        shapes = {"w": (rows, 1 << 18)}
        folders = {str(number): checkpoint(seed + number, shapes) for number in range(2)}
        tracemalloc.start()
        average(folders, tmp_path / "soup")
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    small, large = peak(2, 10), peak(12, 20)  # 2 MiB and 12 MiB a checkpoint.
    assert large < small + 200_000


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"a": (2, 3)}, r"tensor b is F32\[4\] in first and missing in second"),
        ({"a": (2, 3), "b": (4,), "c": (1,)}, r"tensor c is missing in first and F32\[1\] in second"),
        ({"a": (3, 2), "b": (4,)}, r"tensor a is F32\[2, 3\] in first and F32\[3, 2\] in second"),
    ],
)
def test_different_ingredients_are_named(
    checkpoint: Checkpoint, tmp_path: Path, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    folders = {"first": checkpoint(1, {"a": (2, 3), "b": (4,)}), "second": checkpoint(2, shapes)}
    with pytest.raises(ValueError, match=message):
        average(folders, tmp_path / "soup")


def test_different_dtype_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folders = {"first": checkpoint(1), "second": checkpoint(2, dtype=np.float16)}
    with pytest.raises(ValueError, match=r"is F32\[.*\] in first and F16\[.*\] in second"):
        average(folders, tmp_path / "soup")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_numbers_are_named(checkpoint: Checkpoint, tmp_path: Path, bad: float) -> None:
    folders = {"good": checkpoint(1), "spoilt": checkpoint(2)}
    weights = load_file(folders["spoilt"] / "model.safetensors")
    weights["norm.weight"][3] = bad
    save_file(weights, folders["spoilt"] / "model.safetensors")
    with pytest.raises(ValueError, match=r"tensor norm\.weight of spoilt holds numbers that are not finite"):
        average(folders, tmp_path / "soup")


def test_progress_ends_at_total_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    average({"1": checkpoint(1), "2": checkpoint(2)}, tmp_path / "soup", report=lambda *both: seen.append(both))
    total = 4 * (700 * 400 + 15 + 7 + 1)
    assert seen[-1] == (total, total)
    assert len(seen) == 4
