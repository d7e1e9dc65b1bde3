"""One loader in its own process, ours or AI2's, which yields epochs on request.

    PYTHON benchmarks/loader_sides.py ours|ai2 FOLDER

`loader` starts both and writes their common input to the folder. Each line on standard input requests an epoch; the
response is a line of JSON with its seconds, tokens and their sum, and the time to start in the middle of it. Nothing of
this project is imported unless `ours` is given, because AI2's package has the same name.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Spec = dict[str, Any]
# epoch -> function that starts the set-up loader at a fraction of the epoch and yields the batches from there on
Ready = Callable[[int], Callable[[float], Iterator[Tensor]]]


def ours(spec: Spec, folder: Path) -> Ready:
    """Set up our loader as the training loop uses it."""
    from olmo_core.tokens.loader import Loader
    from olmo_core.tokens.read_ahead import read_ahead

    def ready(epoch: int) -> Callable[[float], Iterator[Tensor]]:
        loader = Loader(
            folder,
            {"made/00000": folder / "tokens"},
            seed=0,
            batch_size=spec["batch"],
            sequence_length=spec["length"],
            vocab_size=100_278,
        )

        def begin(share: float) -> Iterator[Tensor]:
            first, last = epoch * len(loader), (epoch + 1) * len(loader)
            with read_ahead(loader, range(first + int(share * len(loader)), last)) as batches:
                for batch in batches:
                    yield torch.from_numpy(batch.tokens)

        return begin

    return ready


def ai2(spec: Spec, folder: Path) -> Ready:
    """Set up NumpyFSLDataset and NumpyDataLoader with their defaults."""
    from olmo_core.data import NumpyDataLoaderConfig, NumpyFSLDatasetConfig, TokenizerConfig

    def ready(epoch: int) -> Callable[[float], Iterator[Tensor]]:
        dataset = NumpyFSLDatasetConfig(
            paths=spec["files"],
            sequence_length=spec["length"],
            tokenizer=TokenizerConfig.dolma2(),
            work_dir=str(folder / "ai2"),
        ).build()
        loader = NumpyDataLoaderConfig(
            global_batch_size=spec["batch"] * spec["length"], seed=0, work_dir=str(folder / "ai2")
        ).build(dataset)
        loader.reshuffle(epoch=epoch + 1)
        total = loader.total_batches
        state = loader.state_dict()

        def begin(share: float) -> Iterator[Tensor]:
            if share:
                done = int(share * total)
                tokens = done * spec["batch"] * spec["length"]
                loader.load_state_dict({**state, "batches_processed": done, "tokens_processed": tokens})
                loader.reshuffle(epoch=epoch + 1)
            for batch in loader:
                yield batch["input_ids"]

        return begin

    return ready


def measured(ready: Ready, epoch: int) -> dict[str, float]:
    """Measure a start in the middle of an epoch, then the whole epoch."""
    times = [time.perf_counter()]
    begin = ready(epoch)
    times.append(time.perf_counter())
    next(begin(0.5))
    times.append(time.perf_counter())
    tokens = 0
    for batch in ready(epoch)(0.0):
        tokens += batch.numel()
    times.append(time.perf_counter())
    total = sum(int(batch.sum()) for batch in ready(epoch)(0.0))  # not timed
    setup, resume, seconds = (b - a for a, b in pairwise(times))
    return {"setup_ms": 1e3 * setup, "resume_ms": 1e3 * resume, "seconds": seconds, "tokens": tokens, "sum": total}


def main() -> None:
    side, folder = sys.argv[1], Path(sys.argv[2])
    answers, sys.stdout = sys.stdout, sys.stderr  # Output of libraries must not mix with the responses.
    ready = {"ours": ours, "ai2": ai2}[side](json.loads((folder / "spec.json").read_text()), folder)
    for epoch, _ in enumerate(sys.stdin):
        print(json.dumps(measured(ready, epoch)), file=answers, flush=True)


if __name__ == "__main__":
    main()
