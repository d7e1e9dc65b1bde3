import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from olmo_core.model.config import ModelConfig, preset, presets


# Parameters of the released models, summed over their tensors on the Hub: all, and without embedding and head.
@pytest.mark.parametrize(
    ("name", "total", "non_embedding"),
    [
        ("olmo1-1b", 1_176_764_416, 1_073_741_824),
        ("olmo1-7b", 6_888_095_744, 6_476_005_376),
        ("olmo1-7b-twin", 6_888_095_744, 6_476_005_376),
        ("olmo1-7b-0424", 6_888_095_744, 6_476_005_376),
        ("olmo2-1b", 1_484_916_736, 1_073_874_944),
        ("olmo2-7b", 7_298_617_344, 6_476_533_760),
        ("olmo2-13b", 13_716_198_400, 12_688_593_920),
        ("olmo2-32b", 32_234_279_936, 31_206_675_456),
    ],
)
def test_parameter_counts_match_released_models(name: str, total: int, non_embedding: int) -> None:
    config = preset(name)
    assert (config.parameters, config.non_embedding_parameters) == (total, non_embedding)


@pytest.mark.parametrize("name", [name for name in presets() if name.endswith("m")])
def test_ladder_names_match_parameter_counts(name: str) -> None:
    assert preset(name).parameters == pytest.approx(1e6 * int(name.removesuffix("m")), rel=0.03)


def test_flops_of_both_counts() -> None:
    # 1B at context 4096: 6 * 1.279e9 for the matrices with the head, and 6 or 12 * 16 * 2048 * 4096 for the scores.
    config = preset("olmo2-1b")
    assert round(config.flops_per_token(4096, "causal") / 1e9, 2) == 8.48
    assert round(config.flops_per_token(4096, "full") / 1e9, 2) == 9.29


def test_indivisible_heads_error_names_nearest_divisor() -> None:
    with pytest.raises(ValidationError, match=r"n_heads=42 does not divide d_model=5120; .* is 40"):
        preset("olmo2-13b", n_heads=42)
    with pytest.raises(ValidationError, match=r"n_kv_heads=7 does not divide n_heads=40; .* is 8"):
        preset("olmo2-32b", n_kv_heads=7)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("olmo2-7b", {"clip_qkv": 8.0}, "only olmo1 clips"),
        ("olmo1-7b", {"norm_eps": 1e-6}, "olmo1 requires 1e-05"),
        ("olmo1-7b", {"clip_qkv": 0.0}, "clip_qkv"),
    ],
)
def test_unsupported_setting_of_architecture_is_refused(name: str, changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        preset(name, **changes)


def test_olmo1_fields_do_not_change_olmo2_identity() -> None:
    """Ids of runs and digests of checkpoints made before OLMo 1 was supported depend on exactly these fields."""
    assert list(preset("olmo2-7b").model_dump(mode="json")) == [
        "d_model", "n_layers", "n_heads", "n_kv_heads", "hidden_size", "vocab_size", "context_length", "rope_theta",
        "norm_eps", "init_std",
    ]  # fmt: skip
    assert preset("olmo1-1b").model_dump(mode="json").items() >= {
        "architecture": "olmo1", "tied_embeddings": True, "init": "mitchell",
    }.items()  # fmt: skip


def test_models_with_same_weights_have_no_differences() -> None:
    config = preset("olmo1-1b")
    same = preset("olmo1-1b", init="normal", init_std=0.1, context_length=4096, vocab_size=50_304)
    assert config.differences(same) == []
    assert config.differences(preset("olmo1-7b")) == [
        "d_model is 2048 and 4096", "n_layers is 16 and 32", "n_heads is 16 and 32", "n_kv_heads is 16 and 32",
        "hidden_size is 8192 and 11008", "tied_embeddings is True and False",
    ]  # fmt: skip
    assert config.differences(preset("olmo1-1b", vocab_size=60_000)) == ["padded_vocab_size is 50304 and 60032"]


def test_unknown_preset_error_names_nearest() -> None:
    with pytest.raises(ValueError, match="nearest is 'olmo2-13b'"):
        preset("olmo2-13")


def test_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="n_head\n"):
        preset("tiny", n_head=4)


def test_explicit_and_default_kv_heads_are_the_same_config() -> None:
    shape = {k: v for k, v in presets()["tiny"].items() if k != "n_kv_heads"}
    assert ModelConfig.model_validate(shape) == ModelConfig.model_validate({**shape, "n_kv_heads": shape["n_heads"]})


@given(st.integers(2, 300_000))
def test_padded_vocabulary_is_next_multiple_of_128(vocab_size: int) -> None:
    padded = preset("micro", vocab_size=vocab_size).padded_vocab_size
    assert padded % 128 == 0
    assert 0 <= padded - vocab_size < 128


def test_config_round_trips_through_json() -> None:
    for name in presets():
        assert ModelConfig.model_validate_json(preset(name).model_dump_json()) == preset(name)


def test_presets_do_not_import_torch() -> None:
    code = "import sys, olmo_core.model.config as c; c.preset('tiny'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
