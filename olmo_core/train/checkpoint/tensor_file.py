"""A safetensors file written by many ranks, each its own rows, with the same bytes as if one rank had written it.

Rows of a tensor are contiguous in the file, so a rank's part of a weight sharded by rows is one range of bytes. The
header is a function of names, dtypes and shapes. Any range of rows can be read, so a file fits any number of ranks.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from olmo_core.model.safetensors import StoredTensor, header, parse, torch_type, type_name
from olmo_core.train.checkpoint.host_copy import bytes_of

CHUNK_VALUES = 2**20  # values per read

Chunk = tuple[torch.dtype, int, Tensor]  # dtype in the file, offset in bytes, tensor to read into


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a tensor.

    Attributes:
        first: index of the first of these rows in the whole tensor.
        values: (rows, ...), on the CPU.
    """

    first: int
    values: Tensor


class Layout:
    """The place of each row in the file; `Layout(tensors)` uses only names, dtypes and shapes."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        described = {name: (type_name(tensor.dtype), tensor.shape) for name, tensor in tensors.items()}
        self._header, self._places = header(described)
        self._size = len(self._header) + sum(place.size for place in self._places.values())

    def create(self, path: Path) -> None:
        """Write the header and extend the file to its full size."""
        with path.open("xb") as file:
            file.write(self._header)
            file.truncate(self._size)

    def write(self, path: Path, parts: Mapping[str, Rows]) -> None:
        """Write rows of some tensors into a file made by `create`."""
        with path.open("r+b") as file:
            for name, rows in parts.items():
                values = bytes_of(rows.values).data
                if values.nbytes:
                    row_bytes = values.nbytes // len(rows.values)
                    _write_all(file.fileno(), values, self._places[name].start + rows.first * row_bytes)
            os.fsync(file.fileno())


def read_rows(path: Path, tensors: Mapping[str, Tensor], rows: Mapping[str, Rows], ignore: str = "") -> None:
    """Read rows of the tensors of a file into existing memory, in chunks, with as many threads as torch has.

    Args:
        path: the file; values of another dtype are converted.
        tensors: name -> a tensor of the expected shape.
        rows: name -> the rows to read and the memory to fill; contiguous, on any device.
        ignore: prefix of names that the file may have in addition; none when empty.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape; names file and tensor.
    """
    stored = _stored(path)
    for name in sorted(stored.keys() | tensors.keys()):
        has = tuple(stored[name].shape) if name in stored else None
        asked = tuple(tensors[name].shape) if name in tensors else None
        if has != asked and not (ignore and name.startswith(ignore)):
            raise ValueError(f"{path}: tensor {name} has shape {has}, but the model needs {asked}")
    chunks = [chunk for name, part in rows.items() for chunk in _chunks(stored[name], part)]
    count = torch.get_num_threads()
    with path.open("rb") as file, ThreadPoolExecutor(count) as threads:
        # One task per thread, not per chunk: submitting a chunk takes a tenth of the time that reading it takes.
        list(threads.map(partial(_read, file.fileno()), [chunks[number::count] for number in range(count)]))


def _stored(path: Path) -> dict[str, StoredTensor]:
    with safe_open(path, framework="pt"):
        pass  # rejects a file that is not safetensors, or has wrong offsets
    with path.open("rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        return parse(raw.read(length))


def _chunks(stored: StoredTensor, rows: Rows) -> Iterator[Chunk]:
    dtype, values = torch_type(stored.dtype), rows.values.detach().view(-1)
    begin = stored.start + rows.first * (values.numel() // max(1, len(rows.values))) * dtype.itemsize
    for first in range(0, len(values), CHUNK_VALUES):
        yield dtype, begin + first * dtype.itemsize, values[first : first + CHUNK_VALUES]


def _read(file: int, chunks: Sequence[Chunk]) -> None:
    for dtype, offset, values in chunks:
        direct = values.dtype == dtype and not values.is_cuda
        read = values if direct else torch.empty(values.shape, dtype=dtype)
        _read_all(file, bytes_of(read).data, offset)
        if not direct:
            values.copy_(read)


def _read_all(file: int, into: memoryview, offset: int) -> None:
    while into:
        count = os.preadv(file, [into], offset)
        if not count:
            raise ValueError(f"the file ends at byte {offset}, before its last tensor")
        into, offset = into[count:], offset + count


def _write_all(file: int, values: memoryview, offset: int) -> None:
    while values:
        written = os.pwrite(file, values, offset)
        values, offset = values[written:], offset + written
