"""The stock transformers model of ours, with the same weights.

Names are repeated here, so that a test cannot share a mistake with the hub room.
"""

from transformers import Olmo2Config, Olmo2ForCausalLM, OlmoConfig, OlmoForCausalLM

from olmo_core.model.transformer import Transformer

NAMES = {  # ours -> transformers'
    "embeddings.": "model.embed_tokens.",
    "blocks.": "model.layers.",
    "attention_norm.": "post_attention_layernorm.",
    "feed_forward_norm.": "post_feedforward_layernorm.",
    "attention.w_q.": "self_attn.q_proj.",
    "attention.w_k.": "self_attn.k_proj.",
    "attention.w_v.": "self_attn.v_proj.",
    "attention.w_out.": "self_attn.o_proj.",
    "attention.q_norm.": "self_attn.q_norm.",
    "attention.k_norm.": "self_attn.k_norm.",
    "feed_forward.w1.": "mlp.gate_proj.",
    "feed_forward.w2.": "mlp.down_proj.",
    "feed_forward.w3.": "mlp.up_proj.",
    "head.": "lm_head.",
}


def stock(model: Transformer) -> Olmo2ForCausalLM | OlmoForCausalLM:
    """Return the model as transformers has it, in evaluation mode."""
    c = model.config
    shared = dict(
        vocab_size=c.padded_vocab_size,
        hidden_size=c.d_model,
        intermediate_size=c.hidden_size,
        num_hidden_layers=c.n_layers,
        num_attention_heads=c.n_heads,
        num_key_value_heads=c.n_kv_heads,
        max_position_embeddings=c.context_length,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
        tie_word_embeddings=c.tied_embeddings,
        pad_token_id=None,
    )
    if c.architecture == "olmo1":
        theirs = OlmoForCausalLM(OlmoConfig(**shared, clip_qkv=c.clip_qkv)).eval()
    else:
        theirs = Olmo2ForCausalLM(Olmo2Config(**shared, rms_norm_eps=c.norm_eps)).eval()
    weights = {}
    for name, tensor in model.state_dict().items():
        for ours, other in NAMES.items():
            name = name.replace(ours, other)
        weights["model.norm.weight" if name == "norm.weight" else name] = tensor
    theirs.load_state_dict(weights, strict=not c.tied_embeddings)
    return theirs
