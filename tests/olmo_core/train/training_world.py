"""A small world to train in: a store, token files of a made-up language, a mix. Test subprocesses import it too."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.artifact.make import Made, make
from olmo_core.artifact.store import Store
from olmo_core.model.config import ModelConfig
from olmo_core.tokens.mix import MixConfig, mix_step
from olmo_core.tokens.token_file import TOKENS_FILE, TokenFile
from olmo_core.train.config import ScheduleConfig
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.step import checkpoint_step, run_step
from olmo_core.train.step_values import StepValues

MODEL = ModelConfig(d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, hidden_size=48, vocab_size=64, context_length=32)
EAGER = TrainPlacement(threads=1, compile=False)
LENGTH = 16
STEPS = (5, 10, 12)  # the steps at which a run of `config` saves checkpoints


def write_nothing(job: Job) -> dict[str, Any]:
    (job.out / "empty.txt").write_text("")
    return {}


def write_tokens(job: Job) -> dict[str, Any]:
    """Write tokens of a language in which each token is one of two that the previous one allows."""
    random = np.random.default_rng(job.fields["seed"])
    ids = np.zeros(job.fields["tokens"], dtype=np.uint16)
    for i in range(1, len(ids)):
        ids[i] = (5 * int(ids[i - 1]) + 1 + random.integers(2)) % 64
    ids.tofile(job.out / "part-00000.npy")
    about = TokenFile("part-00000.npy", "uint16", len(ids), 1, 64, 0)
    (job.out / TOKENS_FILE).write_bytes(msgspec.json.encode(about))
    return {}


def name_tokens(job: Job) -> dict[str, Any]:
    """Refer to the tokens of seed 1 in `made.npy` in an in-memory file system, which acts as a remote store."""
    about = TokenFile("memory://made.npy", "uint16", 4096, 1, 64, 0)
    (job.out / TOKENS_FILE).write_bytes(msgspec.json.encode([about]))
    return {}


def mixed(store: Store, tokens: int = 4096, seed: int = 1) -> Step:
    """Make a mix of one source and return its step."""
    tokenizer = Step("tokenizer", "none", 1, work=write_nothing)
    fields = {"tokens": tokens, "seed": seed}
    source = Step("tokens", "made-up", 1, fields, {"tokenizer": tokenizer}, write_tokens)
    mix = mix_step("made-up", MixConfig(weights={"made": 1.0}), tokens, LENGTH, 0, {"made/00000": source})
    for step in mix.closure():
        make(step, store)
    return mix


def config(**changes: Any) -> LanguageModelling:
    values: dict[str, Any] = {
        "tokens": 12 * 4 * LENGTH,
        "batch_size": 4,
        "sequence_length": LENGTH,
        "seed": 3,
        "checkpoint_every": 5,
        "schedule": ScheduleConfig(kind="cosine", peak=1e-2, warmup=2 * 4 * LENGTH, final=0.3),
    }
    return LanguageModelling.model_validate({**values, **changes})


def run(store: Store, training: LanguageModelling | None = None, start: Step | None = None, seed: int = 1) -> Step:
    return run_step("run", training or config(), MODEL, mixed(store, seed=seed), start)


def stacked(values: StepValues) -> torch.Tensor:
    """Return the values that a training step reports in one tensor."""
    return torch.stack(list(values.present().values()))


def train_here(folder: str, **options: Any) -> Made:
    store = Store(folder)
    return make(run(store), store, EAGER, **options)


def contents(store: Store, steps: list[Step]) -> dict[str, bytes]:
    """Return label/file -> bytes for every file of some artifacts."""
    found: dict[str, bytes] = {}
    for step in steps:
        artifact = store.find(step)
        assert artifact is not None, step.label
        for path in sorted(Path(artifact.path).iterdir()):
            if path.name != "record.json":
                found[f"{step.label}/{path.name}"] = path.read_bytes()
    return found


def everything(store: Store, step: Step) -> dict[str, bytes]:
    """Return the contents of a run of `config` and its checkpoints."""
    return contents(store, [step, *(checkpoint_step(step, at) for at in STEPS)])
