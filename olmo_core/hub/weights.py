"""Weights from one folder to another in safetensors: renamed, cast, cut into files, one tensor in memory at a time.

Which names there are and what they become is the caller's business.
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
HEAD_BYTES = 64  # Enough to know a Git LFS pointer by.


class WeightsError(ValueError):
    """Weights are not those of the model they are said to be."""


def copy_weights(
    source: Path, out: Path, rename: Callable[[str], str], shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype
) -> None:
    """Copy every tensor of `source` to `out` under its new name, cast to `dtype`.

    The bytes written depend on names, values and `dtype` only. One file, or numbered files and an index above
    `FILE_BYTES`.

    Args:
        source: folder with `model.safetensors`, as the Hub's and ours have it, or with an index and its files.
        out: existing folder to write into.
        rename: name in `source` -> name in `out`; raises KeyError for a name it does not know.
        shapes: new name -> shape, exactly the tensors there must be.
        dtype: float32 or bfloat16.

    Raises:
        WeightsError: a tensor is missing, unknown or of another shape, or a file is none; names it and its file.
    """
    with ExitStack() as stack:
        tensors: dict[str, tuple[Any, str]] = {}
        for path in weight_files(source):
            file = stack.enter_context(_opened(path))
            for name in file.keys():  # noqa: SIM118 - an open file is no mapping
                tensors[_checked(path, file, name, rename, shapes)] = (file, name)
        if missing := sorted(shapes.keys() - tensors.keys()):
            raise WeightsError(f"{source} lacks {len(missing)} tensors of the model, the first is {missing[0]}")

        def load(name: str) -> torch.Tensor:
            file, old = tensors[name]
            tensor: torch.Tensor = file.get_tensor(old).to(dtype).contiguous()
            return tensor

        groups = list(_groups(shapes, dtype.itemsize))
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
    """Return the safetensors files that hold a model's weights: the one file, or those its index names."""
    if (folder / WEIGHTS_INDEX).is_file():
        names = set(read_json(folder / WEIGHTS_INDEX)["weight_map"].values())
        if outside := [name for name in sorted(names) if Path(name).name != name]:
            raise WeightsError(f"{folder / WEIGHTS_INDEX} names {outside[0]!r}, which is no file of the same folder")
        return [folder / name for name in sorted(names)]
    if not (folder / WEIGHTS).is_file():
        raise WeightsError(f"{folder} holds neither {WEIGHTS} nor {WEIGHTS_INDEX}")
    return [folder / WEIGHTS]


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file of a model says.

    Raises:
        LfsPointerError, WeightsError: it is a Git LFS pointer, or no JSON; names it.
    """
    content = path.read_bytes()
    refuse_pointer(path, content)
    try:
        said: dict[str, Any] = json.loads(content)
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}") from error
    return said


def _opened(path: Path) -> Any:
    with path.open("rb") as file:
        refuse_pointer(path, file.read(HEAD_BYTES))
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise WeightsError(f"{path} is no safetensors file: {error}") from error


def _checked(
    path: Path, file: Any, name: str, rename: Callable[[str], str], shapes: Mapping[str, tuple[int, ...]]
) -> str:
    try:
        new = rename(name)
    except KeyError as error:
        raise WeightsError(f"{path}: {error.args[0]}") from error
    shape = tuple(file.get_slice(name).get_shape())
    if new not in shapes:
        raise WeightsError(f"{path}: tensor {name} has no place in a model of this config")
    if shape != shapes[new]:
        raise WeightsError(f"{path}: tensor {name} has shape {shape}, the model config asks for {shapes[new]}")
    return new


def _groups(shapes: Mapping[str, tuple[int, ...]], itemsize: int) -> Iterator[list[str]]:
    """Names in order, cut before a file would exceed `FILE_BYTES`."""
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
    """Write one safetensors file, a tensor at a time."""
    first, placed = header({name: (type_name(dtype), shapes[name]) for name in names}, {"format": "pt"})
    with path.open("wb") as file:
        file.write(first)
        for name in placed:
            file.write(load(name).flatten().view(torch.uint8).numpy().data)
