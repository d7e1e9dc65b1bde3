import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from olmo_core.train.checkpoint.tensor_file import Layout, Rows, read_rows


def tensors(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "b.weight": torch.randn(7, 3, generator=generator),
        "a": torch.randn(5, generator=generator),
        "count": torch.tensor([2**40]),
        "long.name": torch.randn(1, 2, generator=generator),
    }


def cut(tensor: torch.Tensor, ranks: int, rank: int) -> slice:
    size = -(-len(tensor) // ranks)
    return slice(min(rank * size, len(tensor)), min((rank + 1) * size, len(tensor)))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**20), st.randoms())
def test_any_number_of_ranks_writes_bytes_of_safetensors_library(
    tmp_path_factory: pytest.TempPathFactory, ranks: int, seed: int, order: "st.random.Random"
) -> None:
    folder, whole = tmp_path_factory.mktemp("files"), tensors(seed)
    layout = Layout(whole)
    layout.create(folder / "ours")
    numbers = list(range(ranks))
    order.shuffle(numbers)
    for rank in numbers:
        parts = {name: cut(tensor, ranks, rank) for name, tensor in whole.items()}
        layout.write(folder / "ours", {name: Rows(rows.start, whole[name][rows]) for name, rows in parts.items()})
    save_file(whole, folder / "theirs")
    assert (folder / "ours").read_bytes() == (folder / "theirs").read_bytes()
    for readers in (1, 2, 5):
        for rank in range(readers):
            held = {name: cut(tensor, readers, rank) for name, tensor in whole.items()}
            rows = {name: Rows(part.start, torch.zeros_like(whole[name][part])) for name, part in held.items()}
            read_rows(folder / "ours", whole, rows)
            for name, part in held.items():
                assert torch.equal(rows[name].values, whole[name][part])


def test_missing_and_unknown_tensors_are_named(tmp_path: Path) -> None:
    whole = tensors(0)
    path = tmp_path / "x.safetensors"
    save_file(whole, path)
    held = {name: Rows(0, torch.zeros_like(tensor)) for name, tensor in whole.items()}
    fewer = {name: tensor for name, tensor in whole.items() if name != "count"}
    with pytest.raises(ValueError, match=r"x\.safetensors: tensor count has shape \(1,\), but the model needs None"):
        read_rows(path, fewer, held)
    read_rows(path, fewer, {name: held[name] for name in fewer}, ignore="cou")
    assert all(torch.equal(held[name].values, whole[name]) for name in fewer)
    with pytest.raises(ValueError, match=r"tensor a has shape \(5,\), but the model needs \(6,\)"):
        read_rows(path, {**whole, "a": torch.zeros(6)}, held)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_values_of_other_dtype_are_converted(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.tensor([1.5, -2.0], dtype=dtype)}, path)
    into = torch.zeros(2)
    read_rows(path, {"a": into}, {"a": Rows(0, into)})
    assert into.tolist() == [1.5, -2.0]


def test_non_contiguous_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(2, 1)}, path)
    apart = torch.zeros(2, 2)[:, :1]
    with pytest.raises(RuntimeError, match="stride"):
        read_rows(path, {"a": apart}, {"a": Rows(0, apart)})


def test_large_tensors_are_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olmo_core.train.checkpoint.tensor_file.CHUNK_VALUES", 4)
    whole = {name: each for name, each in tensors(1).items() if each.dtype == torch.float32}
    path = tmp_path / "x.safetensors"
    save_file(whole, path)
    rows = {name: Rows(1, torch.zeros_like(each[1:])) for name, each in whole.items()}
    read_rows(path, whole, rows)
    assert all(torch.equal(rows[name].values, each[1:]) for name, each in whole.items())


def test_short_reads_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tensors(1)
    path = tmp_path / "x.safetensors"
    save_file(whole, path)
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, into, at: preadv(file, [into[0][:5]], at))
    rows = {name: Rows(0, torch.zeros_like(each)) for name, each in whole.items()}
    read_rows(path, whole, rows)
    assert all(torch.equal(rows[name].values, each) for name, each in whole.items())
    monkeypatch.setattr(os, "preadv", lambda file, into, at: 0)
    with pytest.raises(ValueError, match="the file ends at byte"):
        read_rows(path, whole, rows)
