"""Names as data: our tensors and config fields beside those of transformers' `Olmo2ForCausalLM` and `OlmoForCausalLM`.

No tensor is transposed or split between the two, so a mapping of names is all there is; both directions come from the
same table. An OLMo 1 has a part of the tensors of an OLMo 2 under the same names. Source of the right-hand names:
transformers 5, models/olmo2 and models/olmo.
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
OWN_FIELDS = {"olmo2": {"norm_eps": "rms_norm_eps"}, "olmo1": {"clip_qkv": "clip_qkv"}}  # Those of one architecture.

# What config.json must say for the network to be ours: everything a config could switch and we do not.
CONSTANTS = {"hidden_act": "silu", "attention_bias": False, "attention_dropout": 0.0}


def hub_fields(config: ModelConfig) -> dict[str, Any]:
    """Return the keys of config.json that follow from `config` by name alone."""
    names = FIELDS | OWN_FIELDS[config.architecture]
    return {**CONSTANTS, **{key: getattr(config, field) for field, key in names.items()}}


def native_fields(architecture: str, said: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of ModelConfig that `said`, a config.json, names; what it leaves out is left out."""
    fields = {field: said[key] for field, key in (FIELDS | OWN_FIELDS[architecture]).items() if key in said}
    if architecture == "olmo1":
        fields["norm_eps"] = OLMO1_NORM_EPS
    return {"architecture": architecture, **fields}


_TO_NATIVE = {hub: native for native, hub in TENSORS.items()}
_BLOCK = re.compile(r"(?<=\.)(0|[1-9]\d*)(?=\.)")


def hub_name(native: str) -> str:
    """Return the name transformers gives the tensor we call `native`; KeyError when we know no such tensor."""
    return _renamed(native, TENSORS)


def native_name(hub: str) -> str:
    """Return our name of the tensor transformers calls `hub`; KeyError when no OLMo has such a tensor."""
    return _renamed(hub, _TO_NATIVE)


def _renamed(name: str, table: dict[str, str]) -> str:
    number = _BLOCK.search(name)
    pattern = _BLOCK.sub("{n}", name, count=1)
    if pattern not in table:
        raise KeyError(f"tensor {name} is not one of an OLMo model; those are {', '.join(table)}")
    return table[pattern].format(n=number.group() if number else "")
