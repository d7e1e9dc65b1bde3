"""A safetensors file that many ranks write, each its own rows; its bytes are those that one rank would write.

Rows of a tensor lie together, so what a rank holds of a weight sharded by rows is one stretch of bytes. The header
follows from names, types and shapes alone. Reading takes any rows, so a file fits every number of ranks.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

# Names of types in the format, in the order in which the format's own writer puts them: wider ones first.
TYPES = {torch.int64: "I64", torch.float32: "F32"}


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a tensor.

    Attributes:
        first: number of the first of them in the whole tensor.
        values: (rows, ...), on the CPU.
    """

    first: int
    values: Tensor


class Layout:
    """Where in the file each row lies; `Layout(tensors)` looks at names, types and shapes only."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        order = list(TYPES)
        entries: dict[str, dict[str, object]] = {}
        begins, end = {}, 0
        for name in sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name)):
            tensor = tensors[name]
            begins[name], end = end, end + math.prod(tensor.shape) * tensor.dtype.itemsize
            entries[name] = {
                "dtype": TYPES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [begins[name], end],
            }
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # Tensors begin on a multiple of 8 bytes.
        self._header = len(text).to_bytes(8, "little") + text
        self._size = len(self._header) + end
        self._begins = {name: len(self._header) + begin for name, begin in begins.items()}

    def create(self, path: Path) -> None:
        """Write the header, and make room for the rows."""
        with path.open("xb") as file:
            file.write(self._header)
            file.truncate(self._size)

    def write(self, path: Path, parts: Mapping[str, Rows]) -> None:
        """Write rows of some tensors into a file that was created."""
        with path.open("r+b") as file:
            for name, rows in parts.items():
                values = rows.values.flatten().view(torch.uint8).numpy().data
                if values.nbytes:
                    row_bytes = values.nbytes // len(rows.values)
                    _write_all(file.fileno(), values, self._begins[name] + rows.first * row_bytes)
            os.fsync(file.fileno())


def read_rows(
    path: Path, tensors: Mapping[str, Tensor], held: Mapping[str, slice], ignore: str = ""
) -> dict[str, Tensor]:
    """Return the rows `held` of each tensor of a file, mapped, not read yet.

    Args:
        path: the file.
        tensors: name -> a tensor of the shape there must be.
        held: name -> rows.
        ignore: beginning of names that may be there as well; none when empty.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape; names file and tensor.
    """
    with safe_open(path, framework="pt") as file:
        stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        asked = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        for name in sorted(stored.keys() | asked.keys()):
            if stored.get(name) != asked.get(name) and not (ignore and name.startswith(ignore)):
                raise ValueError(
                    f"{path}: tensor {name} has shape {stored.get(name)}, the model asks for {asked.get(name)}"
                )
        return {name: file.get_tensor(name)[held[name]] for name in tensors}


def _write_all(file: int, values: memoryview, offset: int) -> None:
    while values:
        written = os.pwrite(file, values, offset)
        values, offset = values[written:], offset + written
