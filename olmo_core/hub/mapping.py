"""Map our tensor names and config fields to those of transformers' `Olmo2ForCausalLM` and `OlmoForCausalLM`.

No tensor is transposed or split, so a table of names is enough; both directions use the same table. OLMo 1 has a subset
of the tensors of OLMo 2, with the same names. Source of the right-hand names: transformers 5, models/olmo2 and
models/olmo.
"""

import re
from typing import Any

from olmo_core.model.config import OLMO1_NORM_EPS, ModelConfig

CLASSES = {"olmo2": "Olmo2ForCausalLM", "olmo1": "OlmoForCausalLM"}  # Architecture -> class in transformers.
MODEL_TYPES = {"olmo2": "olmo2", "olmo1": "olmo"}  # Architecture -> model_type in config.json.

TENSORS = {
    "embeddings.weight": "model.embed_tokens.weight",
    "blocks.{n}.attention.w_q.weight": "model.layers.{n}.self_attn.q_proj.weight",
    "blocks.{n}.attention.w_k.weight": "model.layers.{n}.self_attn.k_proj.weight",
    "blocks.{n}.attention.w_v.weight": "model.layers.{n}.self_attn.v_proj.weight",
    "blocks.{n}.attention.w_out.weight": "model.layers.{n}.self_attn.o_proj.weight",
    "blocks.{n}.attention.q_norm.weight": "model.layers.{n}.self_attn.q_norm.weight",
    "blocks.{n}.attention.k_norm.weight": "model.layers.{n}.self_attn.k_norm.weight",
    "blocks.{n}.attention_norm.weight": "model.layers.{n}.post_attention_layernorm.weight",
    "blocks.{n}.feed_forward.w1.weight": "model.layers.{n}.mlp.gate_proj.weight",
    "blocks.{n}.feed_forward.w3.weight": "model.layers.{n}.mlp.up_proj.weight",
    "blocks.{n}.feed_forward.w2.weight": "model.layers.{n}.mlp.down_proj.weight",
    "blocks.{n}.feed_forward_norm.weight": "model.layers.{n}.post_feedforward_layernorm.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}

# Fields of ModelConfig -> keys of config.json that hold the same value.
FIELDS = {
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "hidden_size": "intermediate_size",
    "context_length": "max_position_embeddings",
    "tied_embeddings": "tie_word_embeddings",
    "init_std": "initializer_range",
}
OWN_FIELDS = {"olmo2": {"norm_eps": "rms_norm_eps"}, "olmo1": {"clip_qkv": "clip_qkv"}}  # Of one architecture only.

# Values that config.json must have for the network to be ours: options of transformers that our model does not have.
CONSTANTS = {"hidden_act": "silu", "attention_bias": False, "attention_dropout": 0.0}


def hub_fields(config: ModelConfig) -> dict[str, Any]:
    """Return the keys of config.json that hold the same value as a field of `config`."""
    names = FIELDS | OWN_FIELDS[config.architecture]
    return {**CONSTANTS, **{key: getattr(config, field) for field, key in names.items()}}


def native_fields(architecture: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of ModelConfig that `config`, a config.json, contains."""
    fields = {field: config[key] for field, key in (FIELDS | OWN_FIELDS[architecture]).items() if key in config}
    if architecture == "olmo1":
        fields["norm_eps"] = OLMO1_NORM_EPS
    return {"architecture": architecture, **fields}


_TO_NATIVE = {hub: native for native, hub in TENSORS.items()}
_BLOCK = re.compile(r"(?<=\.)(0|[1-9]\d*)(?=\.)")


def hub_name(native: str) -> str:
    """Return the name in transformers of our tensor `native`; KeyError if our models have no such tensor."""
    return _rename(native, TENSORS)


def native_name(hub: str) -> str:
    """Return our name of the tensor `hub` of transformers; KeyError if no OLMo model has such a tensor."""
    return _rename(hub, _TO_NATIVE)


def _rename(name: str, table: dict[str, str]) -> str:
    number = _BLOCK.search(name)
    pattern = _BLOCK.sub("{n}", name, count=1)
    if pattern not in table:
        raise KeyError(f"tensor {name} does not belong to an OLMo model, whose tensors are {', '.join(table)}")
    return table[pattern].format(n=number.group() if number else "")
