"""Compare our checkpoints with torch.distributed.checkpoint (DCP) for a training state of 1 GB; print a JSON line.

    python benchmarks/checkpoint.py

The state is a trainer's: fp32 weights and both moments. `Saver` saves ours and commits it to an artifact store,
including digests, fsync and record, and `resume` loads it; `verified` adds the store's check of every digest, which DCP
does not have. `blocking` is the time that a training step waits, `total` ends when the checkpoint is complete. `copy`
copies as many bytes once between two memory areas that are already in use. Figures are medians over rounds, in seconds;
the two alternate. A load starts with zeroed tensors; the benchmark stops if the result differs from the saved state.
"""

import json
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save, save

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.model.config import preset
from olmo_core.train.checkpoint.saver import Saver
from olmo_core.train.checkpoint.state import resume, tensors_of
from olmo_core.train.config import ScheduleConfig
from olmo_core.train.distributed.process import training_process
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.trainer import Trainer

ROUNDS = 7
LAYERS = 15  # of the preset 60m: 86.7M parameters, 1.04 GB with their moments
PLACEMENT = TrainPlacement(compile=False)
TARGET = Step("checkpoint", "benchmark", 1)

Seconds = defaultdict[str, list[float]]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Step("run", "benchmark", 1, work=measure)
        made = make(run, Store(Path(folder) / "artifacts"), PLACEMENT)
    print(json.dumps(made.artifact.record.result, sort_keys=True))


def measure(job: Job) -> dict[str, Any]:
    """Do the work of a step, so that its checkpoints are committed like those of a run."""
    training = LanguageModelling(
        batch_size=1,
        sequence_length=2,
        tokens=2,
        seed=0,
        checkpoint_every=1,
        schedule=ScheduleConfig(kind="constant", peak=1e-3),
    )
    seconds: Seconds = defaultdict(list)
    with training_process(PLACEMENT), tempfile.TemporaryDirectory(dir=job.out) as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=0, world_size=1)
        trainer = Trainer(preset("60m", n_layers=LAYERS), training.build_objective(), PLACEMENT).initialize()
        state = {f"{file}/{name}": each for file, named in tensors_of(trainer).items() for name, each in named.items()}
        for moment in (each for name, each in state.items() if "exp_avg" in name):
            torch.nn.init.normal_(moment)
        size = sum(each.nbytes for each in state.values())
        source, target = torch.ones(size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)
        written: dict[str, int] = {}
        with Saver(trainer, job.commit, job.out) as saver:
            saver.wait()  # a run's first steps take longer than allocating the memory of the saver
            ways: list[Callable[[], None]] = [
                lambda: timed(seconds, "copy", lambda: target.copy_(source)),
                lambda: written.update(ours=ours(job, trainer, saver, state, seconds)),
                lambda: written.update(dcp=theirs(Path(folder) / "dcp", state, seconds)),
            ]
            for number in range(ROUNDS):
                for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                    way()
        dist.destroy_process_group()
    return figures(size, written, seconds)


def ours(job: Job, trainer: Trainer, saver: Saver, state: Mapping[str, Tensor], seconds: Seconds) -> int:
    """Save and load once; return the bytes of the checkpoint."""
    begin = time.perf_counter()
    timed(seconds, "ours_blocking", lambda: saver.save(TARGET, 1, 1e-3, []))
    saver.wait()
    seconds["ours_total"].append(time.perf_counter() - begin)
    # A new store has not verified any digest, like another process.
    begin = time.perf_counter()
    found = Store(job.out.parents[2]).find(TARGET)
    assert found is not None
    seconds["ours_digests"].append(time.perf_counter() - begin)
    loaded(seconds, "ours_load", state, lambda: resume(found.path, trainer))
    size = sum(path.stat().st_size for path in found.path.iterdir())
    job.discard(TARGET)
    return size


def theirs(folder: Path, state: dict[str, Tensor], seconds: Seconds) -> int:
    """Save synchronously and asynchronously and load once; return the bytes of the checkpoint."""
    timed(seconds, "dcp_save", lambda: save(state, checkpoint_id=folder))
    loaded(seconds, "dcp_load", state, lambda: load(state, checkpoint_id=folder))
    size = sum(path.stat().st_size for path in folder.iterdir())
    shutil.rmtree(folder)
    begin = time.perf_counter()
    future = timed(seconds, "dcp_async_blocking", lambda: async_save(state, checkpoint_id=folder))
    future.result()
    seconds["dcp_async_total"].append(time.perf_counter() - begin)
    shutil.rmtree(folder)
    return size


def timed(seconds: Seconds, name: str, act: Callable[[], Any]) -> Any:
    """Record the seconds of `act`, after all pending disk writes; return its result."""
    os.sync()
    begin = time.perf_counter()
    result = act()
    seconds[name].append(time.perf_counter() - begin)
    return result


def loaded(seconds: Seconds, name: str, state: Mapping[str, Tensor], act: Callable[[], Any]) -> None:
    """Record the seconds of loading into the zeroed state."""
    saved = [each.double().sum().item() for each in state.values()]
    with torch.no_grad():
        for each in state.values():
            each.zero_()
    timed(seconds, name, act)
    if saved != [each.double().sum().item() for each in state.values()]:
        raise RuntimeError(f"{name}: the loaded state differs from the saved one")


def figures(size: int, written: Mapping[str, int], seconds: Seconds) -> dict[str, Any]:
    """Return medians, the longest blocking time, and the ratios of interest."""
    median = {name: statistics.median(values) for name, values in seconds.items()}
    verified = [sum(pair) for pair in zip(seconds["ours_digests"], seconds["ours_load"], strict=True)]
    return {
        "state_bytes": size,
        "written_bytes": dict(written),
        "seconds": {name: round(value, 4) for name, value in sorted(median.items())},
        "first_blocking": round(seconds["ours_blocking"][0], 4),
        "worst_blocking": round(max(seconds["ours_blocking"]), 4),
        "blocking_over_copy": round(median["ours_blocking"] / median["copy"], 3),
        "dcp_blocking_over_copy": round(median["dcp_async_blocking"] / median["copy"], 3),
        "load_ratio": round(median["dcp_load"] / median["ours_load"], 2),
        "verified_load_ratio": round(median["dcp_load"] / statistics.median(verified), 2),
        "save_ratio": round(median["dcp_save"] / median["ours_total"], 2),
    }


if __name__ == "__main__":
    main()
