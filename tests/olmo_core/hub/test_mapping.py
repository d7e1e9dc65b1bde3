import pytest
import torch
from transformers import Olmo2Config, Olmo2ForCausalLM

from olmo_core.hub.mapping import TENSORS, hub_name, native_name
from olmo_core.model.config import ModelConfig
from olmo_core.model.transformer import Transformer


def test_table_covers_both_models_exactly():
    config = ModelConfig(
        d_model=16, n_layers=12, n_heads=4, n_kv_heads=2, hidden_size=24, vocab_size=128, context_length=8
    )
    theirs_config = Olmo2Config(
        hidden_size=16, num_hidden_layers=12, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24,
        vocab_size=128, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    with torch.device("meta"):
        ours = {name: tuple(tensor.shape) for name, tensor in Transformer(config).state_dict().items()}
        theirs = {name: tuple(tensor.shape) for name, tensor in Olmo2ForCausalLM(theirs_config).state_dict().items()}
    assert {hub_name(name): shape for name, shape in ours.items()} == theirs
    assert {native_name(name): shape for name, shape in theirs.items()} == ours


def test_names_map_both_ways():
    for pattern in TENSORS:
        name = pattern.format(n=17)
        assert native_name(hub_name(name)) == name


@pytest.mark.parametrize("name", ["blocks.0.attention.w_q.bias", "blocks.x.attention.w_q.weight", "lm_head.weight", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(KeyError, match="does not belong to an OLMo model"):
        hub_name(name)
