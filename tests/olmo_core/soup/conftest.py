"""Checkpoints written with the safetensors library, and a way to run a step's work, for the tests of soups."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job, Placement

SHAPES = {"embeddings.weight": (700, 400), "blocks.0.attention.w_q.weight": (3, 5), "norm.weight": (7,), "scale": ()}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint of random fp32 weights, drawn from `seed`, and return its folder."""

    def write(seed: int, shapes: Mapping[str, tuple[int, ...]] = SHAPES, dtype: Any = np.float32) -> Path:
        random = np.random.default_rng(seed)
        folder = tmp_path / f"checkpoint{seed}"
        folder.mkdir()
        tensors = {name: np.asarray(random.normal(0, 1, shape)).astype(dtype) for name, shape in shapes.items()}
        save_file(tensors, folder / "model.safetensors")
        (folder / "model.json").write_text(json.dumps({"d_model": 5}))
        return folder

    return write


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Run a step's work on folders by role; an input's record digest is its folder's name turned around."""
    count = iter(range(1000))

    def run_step(step: Step, paths: Mapping[str, Path], threads: int = 1, **job: Any) -> tuple[Path, dict[str, Any]]:
        out = tmp_path / f"out{next(count)}"
        out.mkdir()
        inputs = {
            role: Artifact(step.inputs[role], SimpleNamespace(digest=path.name[::-1]), path)
            for role, path in paths.items()
        }
        assert inputs.keys() == step.inputs.keys()
        assert step.work is not None
        placement = Placement(device="cpu", threads=threads)
        return out, step.work(Job(step, inputs, out, placement, **job))

    return run_step
