"""Copy safetensors weights between folders: rename, cast and shard them with one tensor in memory at a time.

The caller supplies the names.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from olmo_core.artifact.files import refuse_pointer
from olmo_core.hub.file_names import WEIGHTS, WEIGHTS_INDEX
from olmo_core.model.safetensors import header, type_name

FILE_BYTES = 20 * 10**9  # The Hub refuses files above 50 GB; transformers reads shards of any size.
HEAD_BYTES = 64  # Enough to recognise a Git LFS pointer.


class WeightsError(ValueError):
    """Weights do not match the config of their model."""


def copy_weights(
    source: Path, out: Path, rename: Callable[[str], str], shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype
) -> None:
    """Copy every tensor of `source` to `out` under its new name, cast to `dtype`.

    The bytes written depend on names, values and `dtype` only. Weights above `FILE_BYTES` are written as numbered files
    with an index, others as one file.

    Args:
        source: folder with `model.safetensors`, as the Hub's and ours have it, or with an index and its files.
        out: existing folder to write into.
        rename: name in `source` -> name in `out`; raises KeyError for a name it does not know.
        shapes: new name -> shape of exactly the expected tensors.
        dtype: float32 or bfloat16.

    Raises:
        WeightsError: a tensor is missing, unknown or has another shape, or a file is not safetensors; names both.
    """
    with ExitStack() as stack:
        tensors: dict[str, tuple[Any, str]] = {}
        for path in weight_files(source):
            file = stack.enter_context(_open(path))
            for name in file.keys():  # noqa: SIM118 - an open file is not a mapping
                tensors[_check(path, file, name, rename, shapes)] = (file, name)
        if missing := sorted(shapes.keys() - tensors.keys()):
            raise WeightsError(f"{source} lacks {len(missing)} tensors of the model, the first is {missing[0]}")

        def load(name: str) -> torch.Tensor:
            file, old = tensors[name]
            tensor: torch.Tensor = file.get_tensor(old).to(dtype).contiguous()
            return tensor

        groups = list(_shards(shapes, dtype.itemsize))
        if len(groups) == 1:
            _write(out / WEIGHTS, groups[0], shapes, dtype, load)
            return
        weight_map = {}
        for number, group in enumerate(groups, 1):
            path = out / f"model-{number:05}-of-{len(groups):05}.safetensors"
            _write(path, group, shapes, dtype, load)
            weight_map.update(dict.fromkeys(group, path.name))
        total = sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (out / WEIGHTS_INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model's weights: the single file, or those in its index."""
    if (folder / WEIGHTS_INDEX).is_file():
        names = set(read_json(folder / WEIGHTS_INDEX)["weight_map"].values())
        if outside := [name for name in sorted(names) if Path(name).name != name]:
            raise WeightsError(f"{folder / WEIGHTS_INDEX} names {outside[0]!r}, which is not a file in the same folder")
        return [folder / name for name in sorted(names)]
    if not (folder / WEIGHTS).is_file():
        raise WeightsError(f"{folder} has neither {WEIGHTS} nor {WEIGHTS_INDEX}")
    return [folder / WEIGHTS]


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a model.

    Raises:
        LfsPointerError, WeightsError: the file is a Git LFS pointer, or not JSON; names it.
    """
    content = path.read_bytes()
    refuse_pointer(path, content)
    try:
        fields: dict[str, Any] = json.loads(content)
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}") from error
    return fields


def _open(path: Path) -> Any:
    with path.open("rb") as file:
        refuse_pointer(path, file.read(HEAD_BYTES))
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}") from error


def _check(
    path: Path, file: Any, name: str, rename: Callable[[str], str], shapes: Mapping[str, tuple[int, ...]]
) -> str:
    """Return the new name of a tensor after checking its name and shape."""
    try:
        new = rename(name)
    except KeyError as error:
        raise WeightsError(f"{path}: {error.args[0]}") from error
    shape = tuple(file.get_slice(name).get_shape())
    if new not in shapes:
        raise WeightsError(f"{path}: tensor {name} does not exist in a model of this config")
    if shape != shapes[new]:
        raise WeightsError(f"{path}: tensor {name} has shape {shape}, the model config requires {shapes[new]}")
    return new


def _shards(shapes: Mapping[str, tuple[int, ...]], itemsize: int) -> Iterator[list[str]]:
    """Yield the names of the tensors of each file, in order, so that no file of several exceeds `FILE_BYTES`."""
    group: list[str] = []
    held = 0
    for name in sorted(shapes):
        size = math.prod(shapes[name]) * itemsize
        if group and held + size > FILE_BYTES:
            yield group
            group, held = [], 0
        group.append(name)
        held += size
    yield group


def _write(
    path: Path,
    names: list[str],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    load: Callable[[str], torch.Tensor],
) -> None:
    """Write a safetensors file, one tensor at a time."""
    first, placed = header({name: (type_name(dtype), shapes[name]) for name in names}, {"format": "pt"})
    with path.open("wb") as file:
        file.write(first)
        for name in placed:
            file.write(load(name).flatten().view(torch.uint8).numpy().data)
