import json
from dataclasses import replace

import pytest
import torch
from hub_folder import entries
from safetensors.torch import load_file, save_file

from olmo_core.hub.cache import LocalCache
from olmo_core.hub.parity import ParityError, batch, compare, verify

REPO = "olmo/tiny"


@pytest.fixture
def cached(tmp_path, revision):
    """Upload a revision, after a change to its folder, to a cache without verifying it."""

    def make(change=lambda folder: None, dtype="float32"):
        made = revision("r", dtype=dtype)
        change(made.folder)
        target = LocalCache(tmp_path / "cache", REPO)
        return target.upload(replace(made, files=entries(made.folder))), target.folder

    return make


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_correct_export_passes(cached, native, dtype):
    commit, cache = cached(dtype=dtype)
    parity = verify(REPO, commit, cache, native())
    assert parity.tokens == 2 * 64
    assert parity.argmax_agreement == 1
    assert parity.largest_difference < 1e-4


def tensors(change):
    def apply(folder):
        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors", {"format": "pt"})

    return apply


def config(**values):
    def apply(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return apply


def swap(a, b):
    return tensors(lambda held: held.update({a: held[b], b: held[a]}))


LAYER = "model.layers.1."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap(LAYER + "mlp.gate_proj.weight", LAYER + "mlp.up_proj.weight"), "logits differ"),
        (swap(LAYER + "post_attention_layernorm.weight", "model.norm.weight"), "logits differ"),
        (tensors(lambda held: held["lm_head.weight"][7].mul_(1.001)), "logits differ"),
        (tensors(lambda held: held["model.norm.weight"].fill_(float("nan"))), "logits differ"),
        (config(rope_theta=500.0, rope_parameters={"rope_theta": 500.0, "rope_type": "default"}), "logits differ"),
        (config(rms_norm_eps=0.01), "logits differ"),
        (tensors(lambda held: held.pop(LAYER + "self_attn.q_norm.weight")), "tensors do not fit.*q_norm"),
        (tensors(lambda held: held.update({"extra": torch.ones(1)})), "tensors do not fit.*extra"),
        (config(vocab_size=320), "cannot be loaded|do not fit"),
        (config(model_type="nonsense"), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "cannot be loaded"),
        (config(eos_token_id=5), "eos_token_id"),
    ],
)
def test_wrong_export_fails(cached, native, change, message):
    commit, cache = cached(change)
    with pytest.raises(ParityError, match=message):
        verify(REPO, commit, cache, native())


def test_export_of_another_model_fails(cached, native):
    commit, cache = cached()
    with pytest.raises(ParityError, match="argmax agrees at"):
        verify(REPO, commit, cache, native(1))


def test_batch_is_fixed_and_within_vocabulary():
    tokens = batch(300, 4096)
    assert tokens.shape == (2, 512) and tokens.dtype == torch.int64
    assert torch.equal(tokens, batch(300, 4096))
    assert tokens.min() >= 0 and 250 < tokens.max() < 300


def test_comparison_allows_only_ties():
    native = torch.tensor([[[1.0, 1.0 + 1e-6, 0.0]]])
    tied = torch.tensor([[[1.0 + 2e-6, 1.0, 0.0]]])
    assert compare(native, tied, "x").argmax_agreement == 1
    with pytest.raises(ParityError, match="row 0, position 0"):
        compare(native, native + torch.tensor([0.0, 0.0, 1e-4]), "x")
    with pytest.raises(ParityError, match="shape"):
        compare(native, native[..., :2], "x")
