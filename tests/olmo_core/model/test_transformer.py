import pytest
import torch
from stock import stock

from olmo_core.model.config import ModelConfig, preset, presets
from olmo_core.model.transformer import Transformer

SHAPE = dict(d_model=48, n_layers=3, n_heads=6, hidden_size=80, vocab_size=300, context_length=64)


def made(**changes: int) -> Transformer:
    return Transformer(ModelConfig.model_validate({**SHAPE, **changes})).initialize(torch.Generator().manual_seed(3))


@pytest.mark.parametrize("n_kv_heads", [6, 2, 1])
def test_logits_and_gradients_match_transformers(n_kv_heads: int) -> None:
    model = made(n_kv_heads=n_kv_heads)
    with torch.no_grad():  # larger weights than the small first ones, so that norms and rotation matter
        generator = torch.Generator().manual_seed(5)
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    hf = stock(model)
    tokens = torch.randint(0, 300, (2, 64), generator=torch.Generator().manual_seed(1))
    ours, theirs = model(tokens), hf(tokens).logits
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    ours.logsumexp(-1).mean().backward()
    theirs.logsumexp(-1).mean().backward()
    assert torch.allclose(model.embeddings.weight.grad, hf.model.embed_tokens.weight.grad, rtol=1e-4, atol=1e-7)


def test_text_longer_than_chunk_matches_transformers() -> None:
    model = made(context_length=200)
    tokens = torch.randint(0, 300, (2, 200), generator=torch.Generator().manual_seed(9))
    assert torch.allclose(model(tokens), stock(model)(tokens).logits, rtol=1e-5, atol=1e-5)


def test_later_token_changes_no_earlier_logits() -> None:
    model = made().eval()
    tokens = torch.randint(0, 300, (1, 20), generator=torch.Generator().manual_seed(2))
    changed = tokens.clone()
    changed[0, 12] = (changed[0, 12] + 1) % 300
    before, after = model(tokens), model(changed)
    assert torch.equal(before[0, :12], after[0, :12])
    assert not torch.equal(before[0, 12:], after[0, 12:])


def test_first_weights_follow_seed_and_truncation() -> None:
    first, again = made(), made()
    other = Transformer(first.config).initialize(torch.Generator().manual_seed(4))
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        if a.ndim == 1:
            assert torch.equal(a, torch.ones_like(a))
        else:
            assert not torch.equal(a, c), name
            assert a.abs().max() <= 0.06
    # A normal truncated at three deviations keeps 0.9866 of its deviation.
    assert first.head.weight.std().item() == pytest.approx(0.02 * 0.9866, rel=0.02)


def test_mitchell_init_scales_by_input_width_and_depth() -> None:
    changes = dict(architecture="olmo1", norm_eps=1e-5, init="mitchell", d_model=128, n_heads=4, hidden_size=512)
    config = ModelConfig.model_validate({**SHAPE, **changes})
    weights = Transformer(config).initialize(torch.Generator().manual_seed(1)).state_dict()
    for name, tensor in weights.items():
        block = int(name.split(".")[1]) if name.startswith("blocks.") else 0
        # OLMo repository, olmo/model.py, reset_parameters: 1 / sqrt(width), and 1 / sqrt(2 width (block + 1)) for
        # matrices that write to the residual stream, both truncated at three deviations.
        width = 512 if name.endswith("w2.weight") else 128
        joins = name.endswith(("w_out.weight", "w2.weight"))
        std = (2 * width * (block + 1)) ** -0.5 if joins else width**-0.5
        assert tensor.std().item() == pytest.approx(std * 0.9866, rel=0.02), name
        assert tensor.abs().max() <= 3 * std


def test_tied_head_shares_weight_and_gradient_of_embedding() -> None:
    model = Transformer(ModelConfig.model_validate({**SHAPE, "tied_embeddings": True}))
    model.initialize(torch.Generator().manual_seed(1))
    assert model.head.weight is model.embeddings.weight
    assert not any(name.startswith("head") for name in model.state_dict())
    model(torch.tensor([[5, 6]]))[..., 7].sum().backward()
    grad = model.embeddings.weight.grad
    assert grad is not None
    assert grad[5].any() and grad[6].any() and grad[7].any()  # two as inputs, one as output


@pytest.mark.parametrize("name", sorted(presets()))
def test_config_counts_parameters_of_network(name: str) -> None:
    with torch.device("meta"):
        model = Transformer(preset(name))
    assert sum(p.numel() for p in model.parameters()) == model.config.parameters
    assert sum(t.numel() for t in model.state_dict().values()) == model.config.parameters
    assert model.head.weight.shape[0] % 128 == 0
