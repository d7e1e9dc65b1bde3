"""OLMo 1 against transformers, and the shapes that only it or neither architecture may have."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from stock import stock

from olmo_core.model.arithmetic import linear, matmul
from olmo_core.model.config import ModelConfig, padded, preset
from olmo_core.model.transformer import Transformer

SHAPE = dict(
    architecture="olmo1", d_model=48, n_layers=3, n_heads=6, hidden_size=80, vocab_size=300, context_length=64,
    norm_eps=1e-5,
)  # fmt: skip


def made(**changes: object) -> Transformer:
    model = Transformer(ModelConfig.model_validate({**SHAPE, **changes})).initialize(torch.Generator().manual_seed(3))
    with torch.no_grad():  # far from their small start, so that clipping and rotation matter
        generator = torch.Generator().manual_seed(5)
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


@pytest.mark.parametrize("changes", [{}, {"clip_qkv": 0.5}, {"tied_embeddings": True}, {"n_kv_heads": 2}], ids=str)
def test_logits_and_gradients_equal_transformers(changes: dict[str, object]) -> None:
    model = made(**changes)
    theirs = stock(model)
    tokens = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(1))
    ours, expected = model(tokens), theirs(tokens).logits
    assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-4)
    ours.logsumexp(-1).mean().backward()
    expected.logsumexp(-1).mean().backward()
    assert torch.allclose(model.embeddings.weight.grad, theirs.model.embed_tokens.weight.grad, rtol=1e-3, atol=1e-6)


def test_clipping_changes_the_logits() -> None:
    """Without this, the comparison above might clip nothing."""
    tokens = torch.arange(40)[None]
    assert not torch.allclose(made()(tokens), made(clip_qkv=0.5)(tokens), atol=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 16, "n_kv_heads": 16}, r"n_heads=16.*odd width 3"),
        ({"rows": 299}, r"rows=299 is less than vocab_size=300"),
        ({"rows": 0}, r"rows=0"),
        ({"d_model": 1}, "d_model"),
        ({"context_length": 1}, "context_length"),
        ({"rope_theta": 0.0}, "rope_theta"),
        ({"architecture": "olmo3"}, "architecture"),
    ],
    ids=str,
)
def test_shape_that_cannot_be_is_refused_by_field(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate({**SHAPE, **changes})


def test_rows_of_a_model_from_elsewhere_are_not_padded() -> None:
    config = ModelConfig.model_validate({**SHAPE, "rows": 301})
    assert config.padded_vocab_size == 301
    assert Transformer(config).embeddings.weight.shape == (301, 48)
    assert ModelConfig.model_validate(SHAPE).padded_vocab_size == padded(300) == 384


def test_intended_difference_is_not_reported() -> None:
    config, longer = preset("olmo1-1b"), preset("olmo1-1b", rope_theta=8e6, clip_qkv=8.0)
    assert config.differences(longer, ["rope_theta"]) == ["clip_qkv is None and 8.0"]
    assert config.differences(longer, ["rope_theta", "clip_qkv"]) == []


@settings(max_examples=12)
@given(
    st.integers(1, 6), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.integers(2, 400), st.booleans(),
    st.sampled_from(["olmo1", "olmo2"]),
)  # fmt: skip
def test_parameters_of_any_shape_are_counted(
    layers: int, heads: int, group: int, vocabulary: int, tied: bool, architecture: str
) -> None:
    config = ModelConfig.model_validate(
        {
            **{"architecture": architecture, "norm_eps": 1e-5, "n_layers": layers, "d_model": heads * group * 6},
            **{"n_heads": heads * group, "n_kv_heads": heads, "hidden_size": 10 + vocabulary % 7},
            **{"vocab_size": vocabulary, "context_length": 8, "tied_embeddings": tied},
        }
    )
    with torch.device("meta"):
        model = Transformer(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == config.parameters
    tables = [model.embeddings.weight] if tied else [model.embeddings.weight, model.head.weight]
    assert config.parameters - sum(table.numel() for table in tables) == config.non_embedding_parameters


def test_products_away_from_the_cpu_are_torchs_own() -> None:
    """A tensor without memory: what comes out has the shape and the type that torch gives it."""
    x, weight = torch.empty(2, 5, 8, device="meta", dtype=torch.bfloat16), torch.empty(3, 8, device="meta").bfloat16()
    assert (linear(x, weight).shape, linear(x, weight).dtype) == ((2, 5, 3), torch.bfloat16)
    assert matmul(x, x.transpose(-1, -2)).shape == (2, 5, 5)


@pytest.mark.parametrize("context", [2, 64, 4096])
def test_flops_of_a_token_are_six_for_each_number_that_it_meets_and_the_scores(context: int) -> None:
    config = ModelConfig.model_validate({**SHAPE, "tied_embeddings": True})
    matrices = 3 * (4 * 48 * 48 + 3 * 48 * 80) + 384 * 48  # three blocks, and the head although it is tied
    assert config.flops_per_token(context, "full") == 6 * matrices + 12 * 3 * 48 * context
    assert config.flops_per_token(context) == 6 * matrices + 6 * 3 * 48 * context
