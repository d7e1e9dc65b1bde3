"""Compare our training step with those of ai2-olmo-core and transformers, alternating in blocks; print a JSON line.

    python benchmarks/train_step.py [60m|5m]

All three train the same model from the same weights on the same tokens, in bf16 and compiled. Each has its own process,
which stays alive so that a slow moment of the machine affects all. `ratio` is the median over rounds of a peer's time
divided by ours. `peak_bytes` is the peak memory of a process, or of its tensors on a GPU; `step_bytes` the peak of a
step's tensors without weights and moments. The losses of the timed steps are compared with AI2's, as are those of a
second run in fp32, uncompiled. `peers` defines a step; `ai2_environment` installs AI2's package.
"""

import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from ai2_environment import ai2_command
from numpy.typing import NDArray

from olmo_core.model.config import ModelConfig, preset
from olmo_core.model.load import save_model
from olmo_core.model.transformer import Transformer
from olmo_core.train.config import ScheduleConfig
from olmo_core.train.device_flops import measured_flops, peak_flops
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.schedule import learning_rate

IMPLEMENTATIONS = ("ours", "ai2", "transformers")
BATCHES = {"5m": (8, 256), "60m": (2, 512)}  # sequences and their length
ROUNDS, BLOCK = 10, 10  # blocks of steps that are timed
CHECKED = 100  # steps whose losses are compared in fp32
CHECKED_BATCH = (1, 128)
RATE = 1e-4  # At 3e-4 the rounding of bf16 grows to 2% of the loss in 100 steps of 60m.
TEXT = Path(__file__).parents[1] / "olmo_core" / "documents" / "sources" / "micro.jsonl.gz"
ALLOWED = {"bf16": 1e-3, "fp32": 1e-5}  # relative difference of any loss


def main() -> None:
    name = sys.argv[1].lower() if len(sys.argv) > 1 else "60m"
    placement = TrainPlacement(threads=len(os.sched_getaffinity(0)), compile=True)
    print(json.dumps({"model": name, **figures(preset(name), *BATCHES[name], placement)}, sort_keys=True))


Blocks = Mapping[str, Sequence[Mapping[str, Any]]]


def compared(
    shape: ModelConfig,
    batch: int,
    length: int,
    precision: str,
    placement: TrainPlacement,
    blocks: Sequence[int],
    implementations: Sequence[str],
) -> Blocks:
    """Return the measurements of each implementation for each block of steps, in alternation.

    Args:
        shape: shape of the model.
        batch: sequences of a step.
        length: tokens of a sequence.
        precision: bf16 or fp32.
        placement: device, threads, compilation.
        blocks: steps of each block; a block of one step measures memory, all others time.
        implementations: names in the order of a round.
    """
    steps = sum(blocks)
    training = LanguageModelling.model_validate(
        {
            "tokens": steps * batch * length,
            "batch_size": batch,
            "sequence_length": length,
            "seed": 0,
            "precision": precision,
            "checkpoint_every": steps,
            "schedule": ScheduleConfig(kind="constant", peak=RATE, unit="steps", warmup=min(20, steps)),
        }
    )
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        save_model(folder, shape, dict(Transformer(shape).initialize(torch.Generator().manual_seed(0)).state_dict()))
        np.save(folder / "tokens.npy", text(steps, batch, length))
        spec = {
            "model": shape.model_dump() | {"vocab_size": shape.padded_vocab_size},
            "training": training.model_dump(),
            "placement": placement.model_dump(),
            "rates": [learning_rate(training.schedule, RATE, step, steps) for step in range(1, steps + 1)],
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        runners = {each: stack.enter_context(Runner(each, folder)) for each in implementations}
        found: dict[str, list[Mapping[str, Any]]] = {each: [] for each in implementations}
        for count in blocks:
            for each, runner in runners.items():
                found[each].append(block := runner.take(count))
                print(each, {**block, "losses": block["losses"][-1]}, file=sys.stderr)
        return found


class Runner:
    """An implementation in its own process; see `peers`."""

    def __init__(self, implementation: str, folder: Path) -> None:
        command = ai2_command() if implementation == "ai2" else [sys.executable]
        script = Path(__file__).with_name("peers.py")
        self._process = subprocess.Popen(
            [*command, script, implementation, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    @property
    def _input(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    def take(self, steps: int) -> Mapping[str, Any]:
        """Take this many steps; return the response of `peers`."""
        assert self._process.stdout is not None
        print(steps, file=self._input, flush=True)
        response = self._process.stdout.readline()
        if not response:
            raise RuntimeError(f"{self._process.args} ended before it responded; its output is above")
        return dict(json.loads(response))


def text(steps: int, batch: int, length: int) -> NDArray[np.int64]:
    """Return ids (steps, batch, length): the bytes of the text shipped with the project, repeated if necessary."""
    with gzip.open(TEXT, "rt") as file:
        written = "".join(json.loads(line)["text"] for line in file).encode()
    return np.resize(np.frombuffer(written, np.uint8), (steps, batch, length)).astype(np.int64)


def figures(shape: ModelConfig, batch: int, length: int, placement: TrainPlacement) -> dict[str, Any]:
    """Return speed, peak memory and losses of all implementations.

    Args:
        shape: shape of the model.
        batch: sequences of a step.
        length: tokens of a sequence.
        placement: device, threads, compilation.
    """
    timed = compared(shape, batch, length, "bf16", placement, [*[BLOCK] * (ROUNDS + 1), 1], IMPLEMENTATIONS)
    eager = placement.model_copy(update={"compile": False})
    checked = compared(shape, *CHECKED_BATCH, "fp32", eager, [CHECKED], ("ours", "ai2"))
    seconds = {each: [block["seconds"] for block in blocks[1:-1]] for each, blocks in timed.items()}
    speed = {each: batch * length / statistics.median(taken) for each, taken in seconds.items()}
    device = torch.device(placement.device)
    flops = {count: shape.flops_per_token(length, count) for count in ("causal", "full")}
    peaks = {
        "measured": max(measured_flops(device, torch.bfloat16) for _ in range(50)),
        "known": peak_flops(device, torch.bfloat16) if device.type == "cuda" else None,
    }
    return {
        "batch": [batch, length],
        "tokens_per_second": {each: round(tokens) for each, tokens in speed.items()},
        "ratio": {
            peer: statistics.median(theirs / ours for ours, theirs in zip(seconds["ours"], taken, strict=True))
            for peer, taken in seconds.items()
            if peer != "ours"
        },
        "flops_per_token": flops,
        "peak_flops": peaks,
        "utilization": {
            f"{each}, {count} count, {peak} peak": tokens * flops[count] / limit
            for each, tokens in speed.items()
            for count in flops
            for peak, limit in peaks.items()
            if limit is not None
        },
        "peak_bytes": {each: max(block["peak_bytes"] for block in blocks[1:-1]) for each, blocks in timed.items()},
        "step_bytes": {each: blocks[-1]["step_bytes"] for each, blocks in timed.items()},
        "losses": {each: [losses_of(blocks)[0], losses_of(blocks)[-1]] for each, blocks in timed.items()},
        "loss_difference": {
            "bf16": difference(timed),
            "bf16, transformers": difference(timed, "transformers"),
            "fp32": difference(checked),
        },
        "loss_allowed": ALLOWED,
    }


def losses_of(blocks: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the losses of all steps in order."""
    return [loss for block in blocks for loss in block["losses"]]


def difference(found: Blocks, one: str = "ours") -> float:
    """Return the largest relative difference of an implementation's losses from AI2's."""
    pairs = zip(losses_of(found[one]), losses_of(found["ai2"]), strict=True)
    return max(abs(loss - theirs) / theirs for loss, theirs in pairs)


if __name__ == "__main__":
    main()
