"""The two norms against their definitions, in the type that goes in and in fp32 inside."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.model.config import ModelConfig
from olmo_core.model.norm import LayerNorm, RMSNorm, norm

OLMO2 = ModelConfig(d_model=8, n_layers=1, n_heads=2, hidden_size=8, vocab_size=8, context_length=8, norm_eps=1e-3)
OLMO1 = OLMO2.model_copy(update={"architecture": "olmo1", "norm_eps": 1e-5})


def states(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(4))


def test_rms_norm_divides_by_the_root_mean_square_and_multiplies_by_the_gain() -> None:
    layer = norm(OLMO2, 4)
    assert isinstance(layer, RMSNorm)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0, -1.0, 0.0]))
    # Mean square of (3, 4, 0, 5) is 12.5, and the epsilon of the config is added below the root.
    expected = torch.tensor([3.0, 8.0, -0.0, 0.0]) / (12.5 + 1e-3) ** 0.5
    assert torch.allclose(layer(torch.tensor([3.0, 4.0, 0.0, 5.0])), expected)


def test_layer_norm_has_mean_zero_and_deviation_one_and_no_weights() -> None:
    layer = norm(OLMO1, 4)
    assert isinstance(layer, LayerNorm)
    assert list(layer.parameters()) == []
    # Mean 3, variance (4 + 0 + 0 + 4) / 4 = 2: the deviation of all numbers, not of a sample.
    expected = torch.tensor([-2.0, 0.0, 0.0, 2.0]) / (2 + 1e-5) ** 0.5
    assert torch.allclose(layer(torch.tensor([1.0, 3.0, 3.0, 5.0])), expected)


@pytest.mark.parametrize("config", [OLMO2, OLMO1], ids=["olmo2", "olmo1"])
def test_width_is_that_of_the_call_and_not_of_the_model(config: ModelConfig) -> None:
    assert norm(config, 6)(states(2, 3, 6)).shape == (2, 3, 6)
    with pytest.raises(RuntimeError, match="6"):
        norm(config, 6)(states(2, 3, 8))


@pytest.mark.parametrize("config", [OLMO2, OLMO1], ids=["olmo2", "olmo1"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_narrow_states_are_normed_in_fp32_and_rounded_once(config: ModelConfig, dtype: torch.dtype) -> None:
    layer, x = norm(config, 64), states(5, 64, scale=30.0).to(dtype)
    found = layer(x)
    assert found.dtype is dtype
    assert torch.equal(found, layer(x.float()).to(dtype))


@pytest.mark.parametrize("config", [OLMO2, OLMO1], ids=["olmo2", "olmo1"])
def test_squares_of_large_half_precision_states_do_not_overflow(config: ModelConfig) -> None:
    x = states(3, 64, scale=10_000.0).half()
    assert x.square().isinf().any(), "squared in half precision they would"
    assert norm(config, 64)(x).isfinite().all()


@settings(max_examples=25)
@given(st.integers(1, 2**20), st.floats(0.1, 50.0), st.floats(-5.0, 5.0))
def test_scale_does_not_matter_and_a_shift_only_to_rms_norm(seed: int, scale: float, shift: float) -> None:
    x = torch.randn(64, generator=torch.Generator().manual_seed(seed))
    rms, layer = norm(OLMO2.model_copy(update={"norm_eps": 1e-12}), 64), norm(OLMO1, 64)
    assert torch.allclose(rms(scale * x), rms(x), atol=1e-4)
    assert torch.allclose(layer(x + shift), layer(x), atol=1e-4)
    assert torch.allclose(layer(scale * x), layer(x), atol=1e-2)  # its epsilon is not zero
    if abs(shift) > 1:
        assert not torch.allclose(rms(x + shift), rms(x), atol=1e-2)
