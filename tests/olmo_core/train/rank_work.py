"""The work of one rank in `test_ranks`: `python rank_work.py RANK WORLD FOLDER` prints its results as JSON.

The test process calls the same functions as a world of one.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from training_world import MODEL, config, run, stacked

from olmo_core.artifact.identity import Step
from olmo_core.artifact.store import Store
from olmo_core.evaluate.scorer import Tree
from olmo_core.model.config import ModelConfig
from olmo_core.train.callbacks.heldout import Heldout, Text
from olmo_core.train.checkpoint.saver import Saver
from olmo_core.train.checkpoint.state import resume
from olmo_core.train.config import SkipStepConfig
from olmo_core.train.distributed.group import rank_and_world
from olmo_core.train.distributed.launch import make_run
from olmo_core.train.history import History
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.preemption import PreemptedError
from olmo_core.train.step_values import StepValues
from olmo_core.train.trainer import Trainer

UNEVEN = ModelConfig.model_validate({**MODEL.model_dump(), "hidden_size": 51})  # divides by neither 2 nor 4
TIED = MODEL.model_copy(update={"tied_embeddings": True})


LOOKS = 20_000  # about 50 ms; a rank that ends too early does so within a few


def placement(**changes: Any) -> TrainPlacement:
    return TrainPlacement(threads=1, compile=False, **changes)


def step(trainer: Trainer, seed: int) -> list[float]:
    """Train one step on this rank's share of a batch; without canonical shards, some sequences have no targets."""
    rank, world = rank_and_world()
    batch = torch.randint(0, 64, (8, 16), generator=torch.Generator().manual_seed(seed))
    targets = torch.arange(8).remainder(3).ne(seed % 3).unsqueeze(1).expand(batch.shape)
    rows = {"tokens": batch[rank::world]}
    if trainer.config.canonical_shards is None:
        rows["targets"] = targets[rank::world]
    values: list[float] = stacked(trainer.update(rows, 5e-3)).tolist()
    return values


def heldout(trainer: Trainer) -> dict[str, float]:
    """Score some made-up text between two steps and return the scores."""
    history = History(trainer.config, dict)
    history.add(4, 5e-3, StepValues({"loss": torch.ones(())}, torch.ones(())))
    texts = {f"heldout/{n}": Text([Tree.of([([0], [n, 5, 7])]), Tree.of([([1], [2] * 9)])], 31) for n in (3, 4)}
    with Heldout(2, texts, trainer.model, 1, history) as callback:
        callback.after(3)
        callback.after(4)
    return {name: value for name, value in history.read()[0].items() if name.startswith("heldout")}


def losses(folder: Path, model: ModelConfig, **changes: Any) -> dict[str, Any]:
    """Train, save with all ranks, and resume in another trainer."""
    rank, _ = rank_and_world()
    training = config(batch_size=8, precision="fp32", skip_step=SkipStepConfig(warmup=2))
    one, other = (Trainer(model, training.build_objective(), placement(**changes)).initialize() for _ in range(2))
    seen = [step(one, seed) for seed in range(4)]
    measured = heldout(one)
    scratch = folder / f"scratch-{rank}"
    scratch.mkdir(parents=True)
    kept, ended, early = folder / "kept", folder / "ended", []

    def commit(_: Step, written: Path) -> None:
        early.append(any(ended.exists() for _ in range(LOOKS)))
        written.rename(kept)

    with Saver(one, commit, scratch) as saver:
        saver.save(Step("checkpoint", "x", 1), 4, 5e-3, [])
    assert kept.exists()
    ended.touch()
    assert not any(early), "a rank ended before the checkpoint was committed"
    resume(kept, other)
    return {"seen": seen, "heldout": measured, "on": step(one, 7), "resumed": step(other, 7)}


def read_back(folder: Path, **changes: Any) -> list[float]:
    """Resume from a checkpoint that another number of ranks wrote, and train one step."""
    training = config(batch_size=8, precision="fp32", skip_step=SkipStepConfig(warmup=2))
    trainer = Trainer(UNEVEN, training.build_objective(), placement(**changes))
    resume(folder, trainer)
    return step(trainer, 7)


def canonical() -> list[str]:
    """Return the exact losses of some steps with canonical shards, and the sums of the weights."""
    trainer = Trainer(MODEL, config(batch_size=8, canonical_shards=4).build_objective(), placement()).initialize()
    seen = [value.hex() for seed in range(3) for value in step(trainer, seed)]
    return seen + [parameter.double().sum().item().hex() for parameter in trainer.model.parameters()]


def preemptible() -> LanguageModelling:
    return config(tokens=24 * 64, checkpoint_every=24, precision="fp32")


def preempted(folder: Path) -> list[str]:
    """Start a run, signal rank 0 when it first reports metrics, and resume the run; return the messages."""
    rank, _ = rank_and_world()
    store = Store(str(folder))
    made = run(store, preemptible()) if rank == 0 else None
    if dist.is_initialized():
        dist.barrier()
    made = made or run(store, preemptible())

    def stop(_: int, values: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    messages = []
    try:
        make_run(made, store, placement(), **({"metrics": stop} if rank == 0 else {}))
    except PreemptedError as error:
        messages.append(str(error))
    make_run(made, store, placement())
    make_run(made, store, placement())  # the artifact exists now, which all ranks must notice
    return messages


def main(rank: int, world: int, folder: Path) -> dict[str, Any]:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous-{world}", rank=rank, world_size=world)
    results: dict[str, Any] = {"canonical": canonical()}
    if world == 2:
        results["replicate"] = losses(folder / "replicate", UNEVEN, micro_batch=1)
        results["shard"] = losses(folder / "shard", UNEVEN, sharding="shard", recompute="blocks", micro_batch=3)
        results["tied"] = losses(folder / "tied", TIED, sharding="shard", recompute="feed_forward")
        results["preempted"] = preempted(folder / "preempted")
    else:
        results["hybrid"] = losses(folder / "hybrid", UNEVEN, sharding="hybrid", micro_batch=1)
        results["read_back"] = read_back(folder / "shard" / "kept", sharding="shard")
    dist.destroy_process_group()
    return results


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
