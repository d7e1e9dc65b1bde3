"""The bytes of a checkpoint's tensors on disk: types, partial writes, rows from the middle, files of another kind."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from olmo_core.train.checkpoint.host_copy import HostCopy, bytes_of
from olmo_core.train.checkpoint.tensor_file import Layout, Rows, read_rows

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64]


def whole(tensors: dict[str, Tensor]) -> dict[str, Rows]:
    return {name: Rows(0, tensor) for name, tensor in tensors.items()}


def written(path: Path, tensors: dict[str, Tensor]) -> Path:
    layout = Layout(tensors)
    layout.create(path)
    layout.write(path, whole(tensors))
    return path


def test_scalar_and_empty_tensors_are_written_too(tmp_path: Path) -> None:
    tensors = {"none": torch.zeros(0, 3), "one": torch.ones(1, 1), "wide": torch.zeros(3, 0)}
    save_file(tensors, tmp_path / "theirs")
    assert written(tmp_path / "ours", tensors).read_bytes() == (tmp_path / "theirs").read_bytes()
    assert {name: tensor.shape for name, tensor in load_file(tmp_path / "ours").items()} == {
        name: tensor.shape for name, tensor in tensors.items()
    }


def test_rows_that_were_never_written_are_zero_and_others_stay(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(6, 2), "b": torch.ones(3)}
    layout = Layout(tensors)
    layout.create(tmp_path / "f")
    layout.write(tmp_path / "f", {"a": Rows(4, torch.full((2, 2), 5.0))})
    layout.write(tmp_path / "f", {"a": Rows(1, torch.full((1, 2), 3.0))})
    found = load_file(tmp_path / "f")
    assert found["a"][:, 0].tolist() == [0, 3, 0, 0, 5, 5]
    assert found["b"].tolist() == [0, 0, 0]


def test_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = written(tmp_path / "f", {"a": torch.ones(2)})
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        Layout({"b": torch.zeros(5)}).create(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_write_may_take_less_than_was_given(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {"a": torch.randn(5, 3), "b": torch.arange(4)}
    save_file(tensors, tmp_path / "theirs")
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, values, at: pwrite(file, values[:most], at))
    assert written(tmp_path / "ours", tensors).read_bytes() == (tmp_path / "theirs").read_bytes()


@settings(max_examples=25)
@given(st.integers(1, 9), st.data())
def test_any_rows_are_read_from_the_middle(
    tmp_path_factory: pytest.TempPathFactory, rows: int, data: st.DataObject
) -> None:
    tensors = {"a": torch.randn(rows, 2, 3), "b": torch.randn(rows)}
    path = written(tmp_path_factory.mktemp("rows") / "f", tensors)
    first = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(first, rows))
    parts = {name: Rows(first, torch.full_like(tensor[first:stop], 9)) for name, tensor in tensors.items()}
    read_rows(path, tensors, parts)
    for name, part in parts.items():
        assert torch.equal(part.values, tensors[name][first:stop])


@pytest.mark.parametrize("stored", TYPES)
@pytest.mark.parametrize("wanted", [torch.float32, torch.float64, torch.bfloat16])
def test_values_are_converted_as_torch_converts(stored: torch.dtype, wanted: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.tensor([[1.0, -3.0], [1000.0, 65.0]]).to(stored)
    path = written(tmp_path / "f", {"a": tensor})
    into = torch.zeros(1, 2, dtype=wanted)
    read_rows(path, {"a": tensor}, {"a": Rows(1, into)})
    assert torch.equal(into, tensor[1:].to(wanted))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 64, (10**6).to_bytes(8, "little") + b"{}"])
def test_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(SafetensorError):
        read_rows(tmp_path / "f", {}, {})


def test_cut_file_is_refused_before_any_value_is_read(tmp_path: Path) -> None:
    tensor = torch.ones(100)
    path = written(tmp_path / "f", {"a": tensor})
    path.write_bytes(path.read_bytes()[:-1])
    into = torch.zeros(100)
    with pytest.raises(SafetensorError):
        read_rows(path, {"a": tensor}, {"a": Rows(0, into)})
    assert not into.any()


def test_type_that_no_checkpoint_has_is_refused() -> None:
    with pytest.raises(KeyError, match="complex64"):
        Layout({"a": torch.zeros(2, dtype=torch.complex64)})


@pytest.mark.parametrize("dtype", TYPES)
def test_bytes_of_a_tensor_are_its_memory(dtype: torch.dtype) -> None:
    tensor = torch.arange(6).to(dtype).view(2, 3)
    found = bytes_of(tensor)
    assert found.nbytes == tensor.nbytes
    found[:] = 0
    assert not tensor.any()


def test_copies_of_tensors_do_not_overlap() -> None:
    """Sizes that are no multiple of a cache line, and the smallest there are."""
    sizes = [1, 63, 64, 65, 0, 127]
    tensors = {str(size): torch.full((size,), size, dtype=torch.uint8) for size in sizes}
    copies = HostCopy(tensors).take(tensors)
    places = sorted((copy.data_ptr(), copy.data_ptr() + copy.nbytes) for copy in copies.values() if copy.nbytes)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(places))
    assert all(torch.equal(copies[name], tensor) for name, tensor in tensors.items())
