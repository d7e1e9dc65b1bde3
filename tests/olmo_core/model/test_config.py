import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from olmo_core.model.config import ModelConfig, preset, presets


# Billions of parameters of the released models, total and without embedding and head (model cards of OLMo 2).
@pytest.mark.parametrize(
    ("name", "total", "non_embedding"),
    [
        ("olmo2-1b", 1.485, 1.074),
        ("olmo2-7b", 7.299, 6.477),
        ("olmo2-13b", 13.716, 12.689),
        ("olmo2-32b", 32.234, 31.207),
    ],
)
def test_official_parameter_counts(name: str, total: float, non_embedding: float) -> None:
    config = preset(name)
    assert round(config.parameters / 1e9, 3) == total
    assert round(config.non_embedding_parameters / 1e9, 3) == non_embedding


def test_flops_by_both_counts() -> None:
    # 1B at context 4096: 6 * 1.279e9 for the matrices, head included, and 6 or 12 * 16 * 2048 * 4096 for the scores.
    config = preset("olmo2-1b")
    assert round(config.flops_per_token(4096, "causal") / 1e9, 2) == 8.48
    assert round(config.flops_per_token(4096, "full") / 1e9, 2) == 9.29


def test_heads_that_do_not_divide_name_the_nearest_that_do() -> None:
    with pytest.raises(ValidationError, match=r"n_heads=42 does not divide d_model=5120; .* is 40"):
        preset("olmo2-13b", n_heads=42)
    with pytest.raises(ValidationError, match=r"n_kv_heads=7 does not divide n_heads=40; .* is 8"):
        preset("olmo2-32b", n_kv_heads=7)


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="nearest is 'olmo2-13b'"):
        preset("olmo2-13")


def test_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="n_head\n"):
        preset("tiny", n_head=4)


def test_written_and_implied_kv_heads_are_the_same_config() -> None:
    shape = {k: v for k, v in presets()["tiny"].items() if k != "n_kv_heads"}
    assert ModelConfig.model_validate(shape) == ModelConfig.model_validate({**shape, "n_kv_heads": shape["n_heads"]})


@given(st.integers(2, 300_000))
def test_padded_vocabulary_is_the_next_multiple_of_128(vocab_size: int) -> None:
    padded = preset("micro", vocab_size=vocab_size).padded_vocab_size
    assert padded % 128 == 0
    assert 0 <= padded - vocab_size < 128


def test_config_survives_json() -> None:
    for name in presets():
        assert ModelConfig.model_validate_json(preset(name).model_dump_json()) == preset(name)


def test_planning_needs_no_torch() -> None:
    code = "import sys, olmo_core.model.config as c; c.preset('tiny'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
