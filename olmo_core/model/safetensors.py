"""The safetensors format: the header of a file, the names of its dtypes, the place of each tensor.

A file is the length of its header (8 bytes, little-endian), the header as JSON (name -> dtype, shape, data_offsets),
then the bytes of all tensors back to back. The header is a function of names, dtypes and shapes, so a file can be
written piece by piece, by several processes, or by numpy. Only a call of `torch_type` imports torch.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# In the order in which the safetensors library writes types: the reverse of its enum `Dtype`.
ITEM_BYTES = {"I64": 8, "F64": 8, "F32": 4, "BF16": 2, "F16": 2}
_ORDER = {name: place for place, name in enumerate(ITEM_BYTES)}
_TORCH_NAMES = {"I64": "int64", "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_NAMES = {f"torch.{torch_name}": name for name, torch_name in _TORCH_NAMES.items()}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        dtype: name of its dtype in the format.
        shape: sizes of its dimensions.
        start: offset of its first byte from the start of the file.
        size: number of bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def header(
    tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str] | None = None
) -> tuple[bytes, dict[str, StoredTensor]]:
    """Return the header of a file with these tensors, and the place of each tensor, in file order.

    Order and padding are those of the safetensors library: by type, wide items first, then by name, data at a multiple
    of 8.

    Args:
        tensors: name -> name of the dtype in the format, and shape.
        metadata: metadata of the file; none if not given.
    """
    entries: dict[str, Any] = {}
    end = 0
    for name in sorted(tensors, key=lambda name: (_ORDER[tensors[name][0]], name)):
        dtype, shape = tensors[name]
        start, end = end, end + math.prod(shape) * ITEM_BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    described = entries if metadata is None else {"__metadata__": dict(metadata), **entries}
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, _placed(entries, len(text))


def parse(text: bytes) -> dict[str, StoredTensor]:
    """Return the tensors in the JSON of a header, sorted by name, without checking that they fit the file.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: `text` is not the JSON of a header.
    """
    entries = json.loads(text)
    return _placed({name: entry for name, entry in sorted(entries.items()) if name != "__metadata__"}, len(text))


def type_name(dtype: "torch.dtype") -> str:
    """Return the format's name of a torch dtype; KeyError if it has none here."""
    return _NAMES[str(dtype)]


def torch_type(name: str) -> "torch.dtype":
    """Return the torch dtype with this name in the format; KeyError if there is none here."""
    import torch

    dtype: torch.dtype = getattr(torch, _TORCH_NAMES[name])
    return dtype


def _placed(entries: Mapping[str, Any], header_bytes: int) -> dict[str, StoredTensor]:
    placed = {}
    for name, entry in entries.items():
        start, end = entry["data_offsets"]
        placed[name] = StoredTensor(str(entry["dtype"]), tuple(entry["shape"]), 8 + header_bytes + start, end - start)
    return placed
