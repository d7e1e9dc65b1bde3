"""Read and write safetensors files piece by piece with numpy, without holding a whole tensor in memory.

The format is described in `olmo_core.model.safetensors`; `average` decides what is done with the pieces.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olmo_core.model.safetensors import ITEM_BYTES, StoredTensor, parse

HEADER_LIMIT = 100_000_000  # Bytes; the limit of the safetensors library.
# Types that can be averaged, as numpy types; numpy has no bf16 and holds its bits.
_NUMPY_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class TensorFile:
    """A safetensors file open for reading; close it, or use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open and check the file.

        Raises:
            ValueError: the file is missing or damaged, or a tensor is not floating-point; names file and tensor.
        """
        if not path.is_file():
            raise ValueError(f"{path.parent} has no {path.name}; a checkpoint folder has one")
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            self.tensors = self._read_header(path.stat().st_size)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "TensorFile":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def read(self, name: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of a tensor from `offset` on."""
        done = 0
        while done < len(buffer):
            got = os.preadv(self._descriptor, [buffer[done:]], self.tensors[name].start + offset + done)
            if not got:
                raise ValueError(f"{self.path}: the file ends within tensor {name}; it is truncated")
            done += got

    def _read_header(self, file_size: int) -> dict[str, StoredTensor]:
        length = int.from_bytes(os.pread(self._descriptor, 8, 0), "little")
        if not 2 <= length <= min(HEADER_LIMIT, file_size - 8):
            raise ValueError(f"{self.path} is not a safetensors file: its header would be {length} bytes long")
        try:
            tensors = parse(os.pread(self._descriptor, length, 8))
            _check_types(tensors)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path} is not a safetensors file that can be averaged: {error}") from error
        for name, tensor in tensors.items():
            if tensor.size != tensor.count * ITEM_BYTES[tensor.dtype] or tensor.start + tensor.size > file_size:
                raise ValueError(f"{self.path}: tensor {name} does not fit its data offsets; the file is damaged")
        return tensors


def widen(raw: memoryview, dtype: str) -> NDArray[Any]:
    """Return raw bytes as numbers that numpy can add: bf16 as fp32, other dtypes unchanged. Nothing is rounded."""
    if dtype == "BF16":
        return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, _NUMPY_TYPES[dtype])


def narrow(values: NDArray[np.float64], dtype: str) -> NDArray[Any]:
    """Return finite fp64 values rounded once, to nearest even, to `dtype`; bf16 is returned as its 16 bits."""
    if dtype != "BF16":
        return values.astype(_NUMPY_TYPES[dtype])
    # First round to odd in fp32 (truncate, and set the last bit if anything was lost), so that the second rounding is
    # correct (Boldo and Melquiond, Emulation of a FMA and correctly rounded sums, IEEE Trans. Computers 2008).
    single = values.astype(np.float32)
    bits = single.view(np.uint32)
    bits -= np.abs(single).astype(np.float64) > np.abs(values)
    bits |= bits.view(np.float32).astype(np.float64) != values
    bits += 0x7FFF + ((bits >> 16) & 1)
    return (bits >> 16).astype(np.uint16)


def _check_types(tensors: Mapping[str, StoredTensor]) -> None:
    for tensor in tensors.values():
        if tensor.dtype not in _NUMPY_TYPES:
            raise ValueError(f"dtype {tensor.dtype} cannot be averaged, only {', '.join(_NUMPY_TYPES)}")
