"""How fast this machine computes what a recipe asks of it: matrix products by precision, and plain work.

Run as `python -m olmo_core.train.machine_rate '{"model": {...}, "rows": 1024, "precisions": ["bf16"]}'`
by whoever plans: planning itself never imports torch. Prints one JSON object; takes a second beside the import.
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

    Seconds are those of the thread, not of the clock, so that a busy machine measures what an idle one does: two
    threads on two cores that others share took 100 times as long as one.

    Args:
        model: whose products are measured.
        rows: tokens of one product: sequences of a forward pass times their length.
        precisions: `bf16`, `fp32`; any but `fp32` is measured in bf16.
    """
    torch.set_num_threads(1)
    names = list(precisions)
    rates = {name: product_rate(model, rows, name, PRODUCT_SECONDS / len(names)) for name in names}
    return {"rates": rates, "plain_seconds": plain_seconds()}


def product_rate(model: ModelConfig, rows: int, precision: str, seconds: float) -> float:
    """Return FLOP/s of a training step's products, each pass over each kind of matrix weighted by its FLOPs."""
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
    """Return the forward product, the gradient of what it reads and that of its weight, each of the first n rows."""

    def forward(n: int) -> Tensor:
        return matmul(x[:n], weight.T)

    def backward(n: int) -> Tensor:
        return matmul(gradient[:n], weight)

    def update(n: int) -> Tensor:
        return matmul(gradient[:n].T, x[:n])

    return forward, backward, update


def plain_seconds() -> float:
    """Return the seconds of some work as tokenizing, packing and importing do it: small objects, one thread."""
    best = float("inf")
    for _ in range(3):
        begin = time.thread_time()
        for item in range(PLAIN_ITEMS):
            hashlib.sha256(json.dumps({"item": item}).encode()).hexdigest()
        best = min(best, time.thread_time() - begin)
    return best


def _matrices(model: ModelConfig) -> Iterator[tuple[int, int, float]]:
    """Yield (width read, width written, how many of such) of every kind of matrix, cut to the widest measured."""
    d_model, key_share = model.d_model, model.n_kv_heads / model.n_heads
    for width, out, count in (
        (d_model, d_model, model.n_layers * (2 + 2 * key_share)),
        (d_model, model.hidden_size, model.n_layers * 3),
        (d_model, model.padded_vocab_size, 1),
    ):
        cut = min(width, WIDEST), min(out, WIDEST_HEAD)
        yield *cut, count * width * out / (cut[0] * cut[1])


def _rows_per_second(pass_: Callable[[int], Tensor], rows: int, seconds: float) -> float:
    """Return the best rate of what fits into `seconds`, with fewer rows where one product of all takes longer."""
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
    """Print what was measured."""
    asked = json.loads(sys.argv[1])
    model = ModelConfig.model_validate(asked.pop("model"))
    print(json.dumps(measure(model, **asked), sort_keys=True))


if __name__ == "__main__":
    main()
