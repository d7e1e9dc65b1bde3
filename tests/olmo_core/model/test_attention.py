import pytest
import torch
import torch.nn.functional as F

from olmo_core.model.attention import SHORT, Mask, causal_bias, short_causal_attention


@pytest.mark.parametrize("length", [1, 127, 128, 129, 300, SHORT])
def test_short_causal_attention_matches_torch(length: int) -> None:
    generator = torch.Generator().manual_seed(6)
    q, k, v, out = (torch.randn(2, 3, length, 16, generator=generator, requires_grad=True) for _ in range(4))
    ours = short_causal_attention(q, k, v, causal_bias(length))
    theirs = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(ours, theirs, atol=1e-6)
    pairs = zip(torch.autograd.grad(ours, (q, k, v), out), torch.autograd.grad(theirs, (q, k, v), out), strict=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_only_short_causal_text_on_cpu_uses_plain_product() -> None:
    short, long = (torch.zeros(1, length, dtype=torch.int64) for length in (SHORT, SHORT + 1))
    readable = torch.ones(1, 1, SHORT, SHORT, dtype=torch.bool)
    assert Mask.of(short).causal_bias is not None
    assert Mask.of(short).readable is None
    assert Mask.of(long) == Mask(None, None)
    assert Mask.of(short.to("meta")) == Mask(None, None)
    assert Mask.of(short, readable) == Mask(readable, None)
