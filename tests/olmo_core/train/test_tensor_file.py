from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from olmo_core.train.tensor_file import Layout, Rows, read_rows


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
def test_any_number_of_ranks_writes_the_bytes_of_the_format_s_own_writer(
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
            for name, rows in read_rows(folder / "ours", whole, held).items():
                assert torch.equal(rows, whole[name][held[name]])


def test_what_a_file_lacks_or_has_too_much_is_named(tmp_path: Path) -> None:
    whole = tensors(0)
    path = tmp_path / "x.safetensors"
    save_file(whole, path)
    held = {name: slice(0, len(tensor)) for name, tensor in whole.items()}
    fewer = {name: tensor for name, tensor in whole.items() if name != "count"}
    with pytest.raises(ValueError, match=r"x\.safetensors: tensor count has shape \(1,\), the model asks for None"):
        read_rows(path, fewer, held)
    assert read_rows(path, fewer, held, ignore="cou").keys() == fewer.keys()
    with pytest.raises(ValueError, match=r"tensor a has shape \(5,\), the model asks for \(6,\)"):
        read_rows(path, {**whole, "a": torch.zeros(6)}, held)
