"""The cache holds at most one model, and a cached model gives the same results as a newly loaded one."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact
from olmo_core.evaluate.model_cache import drop_model, model_of
from olmo_core.model import load
from olmo_core.model.transformer import Transformer

TOKENS = torch.tensor([[5, 7, 11, 13, 17]])


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    drop_model()
    yield
    drop_model()


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the models read from disk; check that no other model is in memory while one is read."""
    read: list[str] = []

    def load_model(path: Path, device: str = "cpu") -> Transformer:
        gc.collect()
        assert all(model() is None for model in alive), "memory holds two models"
        model = real(path, device)
        alive.append(weakref.ref(model))
        read.append(path.name)
        return model

    real, alive = load.load_model, []
    monkeypatch.setattr(load, "load_model", load_model)
    return read


def artifact(folder: Path, digest: str) -> Artifact:
    record: Any = SimpleNamespace(digest=digest)
    return Artifact(Step("checkpoint", "one", 1), record, folder)


def test_equal_content_is_loaded_once(model_folder: Path, loaded: list[str]) -> None:
    first = model_of(artifact(model_folder, "a"), "cpu", "fp32")
    assert model_of(artifact(model_folder, "a"), "cpu", "fp32") is first
    assert len(loaded) == 1


@pytest.mark.parametrize("other", [("b", "fp32"), ("a", "bf16")])
def test_other_content_or_precision_replaces_cached_model(
    other: tuple[str, str], model_folder: Path, loaded: list[str]
) -> None:
    model_of(artifact(model_folder, "a"), "cpu", "fp32")
    digest, precision = other
    model_of(artifact(model_folder, digest), "cpu", precision)
    model_of(artifact(model_folder, "a"), "cpu", "fp32")
    assert len(loaded) == 3


def test_dropped_model_is_loaded_again(model_folder: Path, loaded: list[str]) -> None:
    model_of(artifact(model_folder, "a"), "cpu", "fp32")
    drop_model()
    model_of(artifact(model_folder, "a"), "cpu", "fp32")
    assert len(loaded) == 2


def test_failed_load_leaves_cache_empty(model_folder: Path, tmp_path: Path) -> None:
    first = model_of(artifact(model_folder, "a"), "cpu", "fp32")
    with pytest.raises(ValueError, match=r"has no model\.json"):
        model_of(artifact(tmp_path, "b"), "cpu", "fp32")
    again = model_of(artifact(model_folder, "a"), "cpu", "fp32")
    assert again is not first


def test_cached_model_gives_same_bits_as_reloaded_one(model_folder: Path) -> None:
    def logits() -> torch.Tensor:
        with torch.inference_mode():
            return model_of(artifact(model_folder, "a"), "cpu", "bf16")(TOKENS).clone()

    first, second = logits(), logits()
    drop_model()
    assert torch.equal(first, second) and torch.equal(first, logits())
    assert first.dtype == torch.bfloat16
