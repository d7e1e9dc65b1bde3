import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from olmo_core.soup.tensors import TensorFile, narrow, widen


def bf16(bits: int) -> Fraction:
    """Return the exact value of the 16 bits of a finite bf16."""
    return Fraction(float(np.array([bits << 16], np.uint32).view(np.float32)[0]))


OFFSETS = st.sampled_from([0.0, 2.0**-40, -(2.0**-40), 2.0**-24, -(2.0**-24), 2.0**-50, -(2.0**-50)])
BF16_LIMIT = float(bf16(0x7F7F))  # The largest; more than this is never the mean of bf16 numbers.


# The midpoint of two neighbours, and values so close to it that fp32 cannot distinguish them.
NEAR_MIDDLES = st.builds(
    lambda bits, off: float((bf16(bits) + bf16(bits + 1)) / 2) * (1 + off), st.integers(0x3000, 0x4F00), OFFSETS
)


@given(st.one_of(st.floats(-BF16_LIMIT, BF16_LIMIT), NEAR_MIDDLES, NEAR_MIDDLES.map(lambda value: -value)))
def test_bf16_rounds_to_nearest_even(value: float) -> None:
    found = int(narrow(np.array([value]), "BF16")[0])
    magnitude = found & 0x7FFF
    exact = abs(Fraction(value))
    distance = abs(bf16(magnitude) - exact)
    for neighbour in (magnitude - 1, magnitude + 1):
        if 0 <= neighbour <= 0x7F7F:
            other = abs(bf16(neighbour) - exact)
            assert distance < other or (distance == other and magnitude % 2 == 0)
    assert value == 0 or (found >> 15 == 1) == (value < 0)


def test_bf16_is_rounded_only_once() -> None:
    # Just above the midpoint of 1 and 1 + 2**-7; fp32 would round it to the midpoint, and then to 1.
    value = np.array([1 + 2**-8 + 2**-40])
    assert widen(narrow(value, "BF16").data.cast("B"), "BF16")[0] == 1 + 2**-7
    through_single = value.astype(np.float32).view(np.uint32)
    assert ((through_single + 0x7FFF + ((through_single >> 16) & 1)) >> 16)[0] == 0x3F80


@given(st.lists(st.integers(0, 0xFFFF).filter(lambda bits: bits & 0x7F80 != 0x7F80), min_size=1))
def test_every_bf16_number_round_trips(bits: list[int]) -> None:
    raw = np.array(bits, np.uint16)
    wide = widen(raw.data.cast("B"), "BF16")
    assert wide.dtype == np.float32
    assert narrow(wide.astype(np.float64), "BF16").tolist() == bits


@pytest.mark.parametrize(("dtype", "numpy_type"), [("F32", np.float32), ("F16", np.float16), ("F64", np.float64)])
def test_files_written_by_safetensors_are_read(tmp_path: Path, dtype: str, numpy_type: type) -> None:
    values = np.arange(12, dtype=numpy_type).reshape(3, 4)
    save_file({"b": values, "a": values[0]}, tmp_path / "f", metadata={"format": "pt"})
    with TensorFile(tmp_path / "f") as file:
        assert {name: (tensor.dtype, tensor.shape) for name, tensor in file.tensors.items()} == {
            "a": (dtype, (4,)),
            "b": (dtype, (3, 4)),
        }
        raw = memoryview(bytearray(4 * values.itemsize))
        file.read("b", 8 * values.itemsize, raw)
        assert widen(raw, dtype).tolist() == [8, 9, 10, 11]


def write(path: Path, entries: object, data: bytes = b"") -> Path:
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, "tensor w does not fit its data offsets"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "tensor w does not fit its data offsets"),
        ({"w": {"dtype": "I64", "shape": [1], "data_offsets": [0, 4]}}, "dtype I64 cannot be averaged"),
        ({"w": {"shape": [1]}}, "data_offsets"),
        (["w"], "not a safetensors file"),
    ],
)
def test_damaged_file_is_named(tmp_path: Path, entries: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        TensorFile(write(tmp_path / "broken", entries, b"1234"))
    assert str(tmp_path / "broken") in str(error.value)


@pytest.mark.parametrize("content", [b"", b"short", (10**9).to_bytes(8, "little") + b"{}"])
def test_other_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(ValueError, match="not a safetensors file"):
        TensorFile(tmp_path / "f")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        TensorFile(tmp_path / "model.safetensors")
