"""Fixtures of the evaluation tests: a small tokenizer, a small model, and a function that runs a step's work."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job, Placement
from olmo_core.model.config import ModelConfig
from olmo_core.model.load import save_model
from olmo_core.model.transformer import Transformer

TEXT = "the cat sat on the mat and the dog lay by the door while rain fell on the quiet street "
VOCAB = 300
CONTEXT = 48


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT * 20], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"eos_id": 0, "pad_id": 1, "vocab_size": tokenizer.get_vocab_size()}
    (folder / "special_tokens.json").write_text(json.dumps(special))
    return folder


@pytest.fixture(scope="session")
def model(tokenizer_folder: Path) -> Transformer:
    vocab = json.loads((tokenizer_folder / "special_tokens.json").read_text())["vocab_size"]
    # A wide initialisation, so that attention and every token have a visible effect.
    config = ModelConfig(
        d_model=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        hidden_size=64,
        vocab_size=vocab,
        context_length=CONTEXT,
        init_std=0.4,
    )
    return Transformer(config).initialize(torch.Generator().manual_seed(7)).eval()


@pytest.fixture(scope="session")
def model_folder(model: Transformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, model.config, model.state_dict())
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Return a function that runs a step's work on folders by role and returns its output folder and result."""
    count = iter(range(1000))

    def run_step(step: Step, paths: dict[str, Path], threads: int = 1, **job: Any) -> tuple[Path, dict[str, Any]]:
        out = tmp_path / f"out{next(count)}"
        out.mkdir()
        inputs = {
            role: Artifact(step.inputs[role], SimpleNamespace(digest=str(path)), path) for role, path in paths.items()
        }
        assert inputs.keys() == step.inputs.keys()
        assert step.work is not None
        placement = Placement(device="cpu", threads=threads)
        return out, step.work(Job(step, inputs, out, placement, **job))

    return run_step
