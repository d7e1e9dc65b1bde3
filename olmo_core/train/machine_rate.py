"""How fast this machine computes the work of a recipe: matrix products by precision, and plain Python.

Planning never imports torch, so it runs this module in a subprocess:
`python -m olmo_core.train.machine_rate '{"model": {...}, "rows": 1024, "precisions": ["bf16"]}'`.
It prints one JSON object, and takes a second plus the import.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from olmo_core.model.arithmetic import matmul
from olmo_core.model.config import ModelConfig

PRODUCT_SECONDS = 0.8  # for all products together
PLAIN_ITEMS = 20_000
# Larger matrices are no faster, and those of a head for 100,000 ids take seconds to fill.
MOST_ROWS, WIDEST, WIDEST_HEAD = 1024, 512, 8192
_PROBE_ROWS = 16


def measure(model: ModelConfig, rows: int, precisions: Iterable[str]) -> dict[str, Any]:
    """Return FLOP/s of one thread by precision, and seconds of plain work.

    Time is CPU time of one thread, not wall time, so that a busy machine measures the same as an idle one: on two
    shared cores, two threads took 100 times as long as one.

    Args:
        model: shape of the model whose products are measured.
        rows: tokens per product: sequences of a forward pass times their length.
        precisions: `bf16`, `fp32`; all others are measured in bf16.
    """
    torch.set_num_threads(1)
    names = list(precisions)
    rates = {name: product_rate(model, rows, name, PRODUCT_SECONDS / len(names)) for name in names}
    return {"rates": rates, "plain_seconds": plain_seconds()}


def product_rate(model: ModelConfig, rows: int, precision: str, seconds: float) -> float:
    """Return FLOP/s of a training step's products, weighting each pass over each kind of matrix by its FLOPs."""
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    kinds, rows = list(_matrices(model)), min(rows, MOST_ROWS)
    flops = taken = 0.0
    for width, out, count in kinds:
        sizes = ((rows, width), (out, width), (rows, out))
        x, weight, gradient = (torch.full(size, 0.5, dtype=dtype) for size in sizes)
        for pass_ in _passes(x, weight, gradient):
            work = 2.0 * rows * width * out * count
            flops += work
            taken += work / (2.0 * width * out * _rows_per_second(pass_, rows, seconds / (3 * len(kinds))))
    return flops / taken


def _passes(x: Tensor, weight: Tensor, gradient: Tensor) -> tuple[Callable[[int], Tensor], ...]:
    """Return functions of n that compute the forward product of n rows, and the gradients of input and weight."""

    def forward(n: int) -> Tensor:
        return matmul(x[:n], weight.T)

    def backward(n: int) -> Tensor:
        return matmul(gradient[:n], weight)

    def update(n: int) -> Tensor:
        return matmul(gradient[:n].T, x[:n])

    return forward, backward, update


def plain_seconds() -> float:
    """Return the seconds of a fixed amount of work that resembles tokenizing and packing: small objects, one thread."""
    best = float("inf")
    for _ in range(3):
        begin = time.thread_time()
        for item in range(PLAIN_ITEMS):
            hashlib.sha256(json.dumps({"item": item}).encode()).hexdigest()
        best = min(best, time.thread_time() - begin)
    return best


def _matrices(model: ModelConfig) -> Iterator[tuple[int, int, float]]:
    """Yield (input width, output width, count) of every kind of matrix, with widths cut to the largest measured."""
    d_model, key_share = model.d_model, model.n_kv_heads / model.n_heads
    for width, out, count in (
        (d_model, d_model, model.n_layers * (2 + 2 * key_share)),
        (d_model, model.hidden_size, model.n_layers * 3),
        (d_model, model.padded_vocab_size, 1),
    ):
        cut = min(width, WIDEST), min(out, WIDEST_HEAD)
        yield *cut, count * width * out / (cut[0] * cut[1])


def _rows_per_second(pass_: Callable[[int], Tensor], rows: int, seconds: float) -> float:
    """Return the best rate reached within `seconds`, using fewer rows if one product of all rows takes longer."""
    end = time.thread_time() + seconds
    used, best = min(rows, _PROBE_ROWS), 0.0
    while True:
        begin = time.thread_time()
        pass_(used)
        took = time.thread_time() - begin
        best = max(best, used / took)
        left = end - time.thread_time()
        if left < took:
            return best
        if used < rows and 4 * took < left:
            used = min(rows, 4 * used)


def main() -> None:
    """Measure what the command line asks for and print it as JSON."""
    asked = json.loads(sys.argv[1])
    model = ModelConfig.model_validate(asked.pop("model"))
    print(json.dumps(measure(model, **asked), sort_keys=True))


if __name__ == "__main__":
    main()
