import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from olmo_core.model.safetensors import ITEM_BYTES, StoredTensor, header, parse, torch_type, type_name

# Wide and narrow dtypes, a name that is not ASCII, a tensor without elements and one without dimensions.
TENSORS = {
    "w": np.ones((2, 3), np.float32),
    "half": np.ones(5, np.float16),
    "ä": np.ones((), np.float32),
    "count": np.ones(1, np.int64),
    "empty": np.ones((0, 4), np.float32),
}
DESCRIBED = {
    "w": ("F32", (2, 3)),
    "half": ("F16", [5]),
    "ä": ("F32", ()),
    "count": ("I64", (1,)),
    "empty": ("F32", (0, 4)),
}


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_header_and_places_match_library(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file(TENSORS, tmp_path / "f", metadata=metadata)
    whole = (tmp_path / "f").read_bytes()
    first, placed = header(DESCRIBED, metadata)
    assert whole[: len(first)] == first
    assert [place.start for place in placed.values()] == sorted(place.start for place in placed.values())
    for name, values in TENSORS.items():
        assert whole[placed[name].start :][: placed[name].size] == values.tobytes()


def test_header_round_trips() -> None:
    first, placed = header(DESCRIBED, {"format": "pt"})
    assert parse(first[8:]) == placed
    assert list(parse(first[8:])) == sorted(DESCRIBED)
    assert placed["count"] == StoredTensor("I64", (1,), len(first), 8)
    assert placed["w"].count == 6


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_torch_dtype_has_name_and_size(dtype: torch.dtype) -> None:
    assert torch_type(type_name(dtype)) is dtype
    assert ITEM_BYTES[type_name(dtype)] == dtype.itemsize


def test_dtype_without_name_is_refused() -> None:
    with pytest.raises(KeyError, match="uint8"):
        type_name(torch.uint8)


def test_averaging_does_not_import_torch() -> None:
    code = "import sys, olmo_core.soup.average; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout == "False\n"
