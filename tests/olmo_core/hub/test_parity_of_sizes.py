"""Our models and those of transformers give the same logits in both directions, for every shape of a config."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from olmo_core.hub.convert import read_hub_model, write_hub_model
from olmo_core.model.attention import SHORT
from olmo_core.model.config import ModelConfig
from olmo_core.model.load import load_model, save_model
from olmo_core.model.transformer import Transformer

CONTEXT = SHORT + 32  # Long enough to cover both of our attention kernels.
SHAPE: dict[str, Any] = dict(
    d_model=48, n_layers=3, n_heads=6, hidden_size=80, vocab_size=300, context_length=CONTEXT, init_std=0.2
)
OLMO1: dict[str, Any] = dict(architecture="olmo1", norm_eps=1e-5, rope_theta=10_000)
VARIANTS: dict[str, dict[str, Any]] = {
    "olmo2": {},
    "olmo2-grouped": {"n_kv_heads": 2},
    "olmo2-tied": {"tied_embeddings": True},
    "olmo1": OLMO1,
    "olmo1-grouped": {**OLMO1, "n_kv_heads": 2},
    "olmo1-tied": {**OLMO1, "tied_embeddings": True},
    "olmo1-clipped": {**OLMO1, "clip_qkv": 0.5},
}


@dataclass
class Pair:
    ours: Transformer
    theirs: Any
    native: Path
    hub: Path


@pytest.fixture(scope="module", params=VARIANTS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """One of our models, and the same model exported and loaded by transformers."""
    config = ModelConfig.model_validate({**SHAPE, **VARIANTS[request.param]})
    generator = torch.Generator().manual_seed(1)
    model = Transformer(config).initialize(generator).eval()
    for parameter in model.parameters():  # Gains far from one, so that a misplaced norm changes the logits.
        if parameter.ndim == 1:
            parameter.data.uniform_(0.5, 1.5, generator=generator)
    native, hub = tmp_path_factory.mktemp("native"), tmp_path_factory.mktemp("hub")
    save_model(native, config, model.state_dict())
    write_hub_model(native, hub, "float32", 1, 2)
    return Pair(model, AutoModelForCausalLM.from_pretrained(hub).eval(), native, hub)


def same_logits(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Check that logits differ by at most 1e-5 of the largest one, the rounding of sums in fp32."""
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


def ids(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 300, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_logits_are_equal_up_to_the_full_context(pair: Pair) -> None:
    for length in (1, 60, CONTEXT):
        tokens = ids(2, length)
        same_logits(pair.theirs(tokens).logits, pair.ours(tokens))


@torch.no_grad()
def test_logits_are_equal_with_a_cache(pair: Pair) -> None:
    tokens = ids(2, 24)
    expected, cache = pair.ours(tokens), None
    for part in torch.split(tokens, [16, 1, 1, 1, 5], dim=1):
        out = pair.theirs(part, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        end = cache.get_seq_length()
        same_logits(out.logits, expected[:, end - part.shape[1] : end])


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_are_equal_in_a_padded_batch(pair: Pair, side: str) -> None:
    lengths, width = (20, 13, 1), 20
    rows = [ids(1, length, seed=length)[0] for length in lengths]
    tokens, real = torch.full((3, width), 2), torch.zeros(3, width, dtype=torch.long)
    for row, (text, length) in enumerate(zip(rows, lengths, strict=True)):
        place = slice(width - length, width) if side == "left" else slice(0, length)
        tokens[row, place], real[row, place] = text, 1
    positions = (real.cumsum(1) - 1).clamp(min=0)
    readable = torch.ones(width, width, dtype=torch.bool).tril() & real.bool().unsqueeze(1)
    mask = (readable | torch.eye(width, dtype=torch.bool)).unsqueeze(1)
    theirs = pair.theirs(tokens, attention_mask=real, position_ids=positions).logits
    ours = pair.ours.head(pair.ours.states(tokens, positions, mask))
    for row, text in enumerate(rows):
        alone = pair.ours(text.unsqueeze(0))[0]
        for padded in (theirs, ours):
            same_logits(padded[row][real[row].bool()], alone)


@torch.no_grad()
def test_bfloat16_is_as_exact_as_in_transformers(pair: Pair, tmp_path: Path) -> None:
    write_hub_model(pair.native, tmp_path, "bfloat16", 1, 2)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    exact = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    tokens = ids(4, CONTEXT)
    right = exact(tokens).logits
    logits = load_model(pair.native).to(torch.bfloat16)(tokens)
    ours, peer = ((each.float() - right).square().mean().sqrt() for each in (logits, theirs(tokens).logits))
    assert 0 < ours <= 1.1 * peer


def test_round_trip_of_a_model_is_bitwise(pair: Pair, tmp_path: Path) -> None:
    assert read_hub_model(pair.hub, tmp_path) == pair.ours.config.model_copy(update={"vocab_size": 384})
    before, after = load_file(pair.native / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def remade(pair: Pair) -> Any:
    """A model of the same config that transformers initialised."""
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(pair.hub)).eval()


def converted(model: Any, folder: Path, save: Callable[..., None]) -> Transformer:
    (folder / "hub").mkdir()
    (folder / "native").mkdir()
    save(folder / "hub")
    read_hub_model(folder / "hub", folder / "native")
    return load_model(folder / "native")


@torch.no_grad()
def test_model_made_by_transformers_gives_same_logits(pair: Pair, tmp_path: Path) -> None:
    theirs = remade(pair)
    ours = converted(theirs, tmp_path, theirs.save_pretrained)
    tokens = ids(2, 60)
    same_logits(ours(tokens), theirs(tokens).logits)
