"""The uniform mean of checkpoints, tensor by tensor, in fp64, rounded once to the ingredients' dtype.

Memory use does not depend on the model: pieces of a megabyte or two pass through a few buffers. Files are added in the
order given; `step` chooses it, and `certificate` records the proof.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from olmo_core.model.config import WEIGHTS_FILE
from olmo_core.model.safetensors import ITEM_BYTES, header
from olmo_core.soup.tensors import TensorFile, narrow, widen

PIECE = 1 << 18  # Elements in memory per thread: 2 MiB in fp64, about a core's cache.

Write = Callable[[str, int, memoryview], None]  # Tensor, byte offset within it, bytes.
Report = Callable[[int, int], None]  # Bytes of the mean done so far, bytes in total.


@dataclass(frozen=True)
class Digests:
    """The sha256 of one tensor's bytes in each ingredient, in the order of addition, and in their mean."""

    ingredients: list[str]
    mean: str


def average(
    folders: Mapping[str, Path], out: Path, threads: int = 1, report: Report = lambda done, total: None
) -> dict[str, Digests]:
    """Write the mean of the weights in `folders` (label -> folder) to the file `out`; otherwise like `mean_of`."""
    with ExitStack() as stack:
        files = {label: stack.enter_context(TensorFile(path / WEIGHTS_FILE)) for label, path in folders.items()}
        alike = next(iter(files.values())).tensors
        first, tensors = header({name: (tensor.dtype, tensor.shape) for name, tensor in alike.items()})
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        stack.callback(os.close, descriptor)
        os.pwrite(descriptor, first, 0)

        def write(name: str, offset: int, piece: memoryview) -> None:
            _write_at(descriptor, tensors[name].start + offset, piece)

        return mean_of(files, threads, write, report)


def mean_of(
    files: Mapping[str, TensorFile],
    threads: int = 1,
    write: Write = lambda name, offset, piece: None,
    report: Report = lambda done, total: None,
) -> dict[str, Digests]:
    """Return tensor -> digests of the ingredients and of their mean, and pass the mean to `write` piece by piece.

    Files are added in the order given. With several threads, pieces of different tensors arrive in any order.

    Raises:
        ValueError: files differ in tensors, shapes or dtypes, or hold numbers that are not finite; names file and
            tensor.
    """
    check_alike(files)
    tensors = next(iter(files.values())).tensors
    total, done = sum(tensor.size for tensor in tensors.values()), 0
    digests: dict[str, Digests] = {}
    with ThreadPoolExecutor(threads) as pool:
        means = pool.map(partial(_mean_tensor, files, write), tensors)
        for (name, tensor), digest in zip(tensors.items(), means, strict=True):
            digests[name] = digest
            done += tensor.size
            report(done, total)
    return digests


def check_alike(files: Mapping[str, TensorFile]) -> None:
    """Raise ValueError, naming ingredient and tensor, unless all files hold tensors of the same shapes and dtypes."""
    (model, reference), *others = files.items()
    for label, file in others:
        for name in sorted(reference.tensors.keys() | file.tensors.keys()):
            expected, found = (_shape(tensors, name) for tensors in (reference.tensors, file.tensors))
            if expected != found:
                raise ValueError(
                    f"tensor {name} is {expected} in {model} and {found} in {label}; ingredients must be the same model"
                )


def _mean_tensor(files: Mapping[str, TensorFile], write: Write, name: str) -> Digests:
    tensor = next(iter(files.values())).tensors[name]
    item = ITEM_BYTES[tensor.dtype]
    total, raw = np.empty(min(PIECE, tensor.count)), memoryview(bytearray(min(PIECE, tensor.count) * item))
    read, made = [hashlib.sha256() for _ in files], hashlib.sha256()
    for start in range(0, tensor.count, PIECE):
        count = min(PIECE, tensor.count - start)
        total[:count] = 0
        for (label, file), digest in zip(files.items(), read, strict=True):
            piece = raw[: count * item]
            file.read(name, start * item, piece)
            digest.update(piece)
            values = widen(piece, tensor.dtype)
            if not np.isfinite(values).all():
                raise ValueError(f"tensor {name} of {label} holds numbers that are not finite; leave {label} out")
            total[:count] += values
        total[:count] /= len(files)
        mean = narrow(total[:count], tensor.dtype).data.cast("B")
        made.update(mean)
        write(name, start * item, mean)
    return Digests([digest.hexdigest() for digest in read], made.hexdigest())


def _shape(tensors: Mapping[str, Any], name: str) -> str:
    return f"{tensors[name].dtype}{list(tensors[name].shape)}" if name in tensors else "missing"


def _write_at(descriptor: int, position: int, piece: memoryview) -> None:
    while piece:
        written = os.pwrite(descriptor, piece, position)
        piece, position = piece[written:], position + written
