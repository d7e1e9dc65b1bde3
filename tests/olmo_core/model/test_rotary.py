"""Rotary positions: angles by hand, rotation as multiplication by a complex number, and what follows from it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.model.attention import Attention, Mask, rotary, rotate, short_causal_attention, torch_attention
from olmo_core.model.config import ModelConfig
from olmo_core.model.transformer import Transformer

CPU = torch.device("cpu")
SHAPE = dict(d_model=48, n_layers=2, n_heads=6, n_kv_heads=2, hidden_size=64, vocab_size=60, context_length=64)


def heads(length: int, head_dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 3, length, head_dim, generator=torch.Generator().manual_seed(seed))


def test_angles_are_position_over_powers_of_theta() -> None:
    cos, sin = rotary(3, 4, 100.0, CPU)
    # Width 4 has two pairs, turned by 1 and by 100 ** -0.5 = 0.1 a position; each number of a pair has its angle.
    angles = torch.tensor([[position * 1.0, position * 0.1] * 2 for position in range(3)])
    assert torch.allclose(cos, angles.cos(), atol=1e-7)
    assert torch.allclose(sin, angles.sin(), atol=1e-7)
    assert cos.dtype is sin.dtype is torch.float32


def test_pairs_are_turned_as_complex_numbers() -> None:
    """The numbers `i` and `i + head_dim / 2` are real and imaginary part."""
    x = heads(9, 8)
    angles = torch.arange(9.0)[:, None] * 500.0 ** (-torch.arange(4.0) / 4)
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angles), angles)
    expected = torch.cat((turned.real, turned.imag), dim=-1)
    assert torch.allclose(rotate(x, rotary(9, 8, 500.0, CPU)), expected, atol=1e-5)


def test_first_position_is_not_turned_and_lengths_are_kept() -> None:
    x = heads(40, 16)
    turned = rotate(x, rotary(40, 16, 10_000.0, CPU))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-5)
    assert not torch.allclose(turned[:, :, 1:], x[:, :, 1:], atol=0.1)


@settings(max_examples=25)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 40))
def test_score_depends_on_the_distance_alone(query: int, key: int, shift: int) -> None:
    q, k = heads(1, 16, 1), heads(1, 16, 2)
    cos, sin = rotary(200, 16, 1000.0, CPU)

    def score(at: int, to: int) -> torch.Tensor:
        turned = [rotate(x, (cos[place], sin[place])) for x, place in ((q, at), (k, to))]
        return (turned[0] * turned[1]).sum(-1)

    assert torch.allclose(score(query, key), score(query + shift, key + shift), atol=1e-4)


def test_states_of_bf16_are_turned_in_fp32() -> None:
    x = heads(7, 8).bfloat16()
    rotation = rotary(7, 8, 1000.0, CPU)
    assert rotate(x, rotation).dtype is torch.float32
    assert torch.equal(rotate(x, rotation), rotate(x.float(), rotation))


def attention_by_hand(layer: Attention, x: torch.Tensor, theta: float) -> torch.Tensor:
    """One query at a time, in fp64; heads of keys are found by division."""
    (batch, length, _), width = x.shape, layer.head_dim
    q, k, v = (weight(x) for weight in (layer.w_q, layer.w_k, layer.w_v))
    q, k = layer.q_norm(q).double(), layer.k_norm(k).double()
    angles = torch.arange(length).double()[:, None] * theta ** (-torch.arange(0, width, 2).double() / width)
    turns = torch.polar(torch.ones_like(angles), angles)

    def turned(part: torch.Tensor, at: int) -> torch.Tensor:
        half = width // 2
        number = torch.complex(part[:half], part[half:]) * turns[at]
        return torch.cat((number.real, number.imag))

    out = torch.zeros(batch, length, layer.w_q.weight.shape[0], dtype=torch.float64)
    for row in range(batch):
        for head in range(out.shape[2] // width):
            shared = slice(head // layer.group * width, (head // layer.group + 1) * width)
            own = slice(head * width, (head + 1) * width)
            keys = [turned(k[row, at, shared], at) for at in range(length)]
            for at in range(length):
                query = turned(q[row, at, own], at)
                weights = torch.stack([query @ key for key in keys[: at + 1]]).div(math.sqrt(width)).softmax(0)
                out[row, at, own] = weights @ v[row, : at + 1, shared].double()
    return out @ layer.w_out.weight.double().t()


@pytest.mark.parametrize("n_kv_heads", [6, 3, 1])
def test_attention_is_the_sum_over_earlier_positions(n_kv_heads: int) -> None:
    torch.manual_seed(3)
    layer = Attention(ModelConfig.model_validate({**SHAPE, "n_kv_heads": n_kv_heads}))
    x = torch.randn(1, 6, 48)
    with torch.no_grad():
        found = layer(x, rotary(6, 8, 500.0, CPU), Mask.of(x[..., 0]))
        assert torch.allclose(found.double(), attention_by_hand(layer, x, 500.0), atol=1e-5)


def test_both_kernels_mix_the_same_where_a_mask_says_what_is_causal_anyway() -> None:
    q, k, v = (heads(20, 8, seed) for seed in (1, 2, 3))
    readable = torch.ones(20, 20, dtype=torch.bool).tril().expand(2, 1, 20, 20)
    plain = short_causal_attention(q, k, v, torch.full((20, 20), float("-inf")).triu(1))
    assert torch.allclose(torch_attention(q, k, v, None), plain, atol=1e-6)
    assert torch.allclose(torch_attention(q, k, v, readable), plain, atol=1e-6)


def test_key_that_may_not_be_read_changes_nothing() -> None:
    q, k, v = (heads(6, 8, seed) for seed in (1, 2, 3))
    readable = torch.ones(6, 6, dtype=torch.bool).tril()
    readable[4:, 2] = False
    before = torch_attention(q, k, v, readable.expand(2, 1, 6, 6))
    k[:, :, 2], v[:, :, 2] = 9.0, 9.0
    after = torch_attention(q, k, v, readable.expand(2, 1, 6, 6))
    assert torch.equal(before[:, :, [0, 1, 4, 5]], after[:, :, [0, 1, 4, 5]])
    assert not torch.allclose(before[:, :, [2, 3]], after[:, :, [2, 3]])


def test_answers_packed_into_one_row_have_the_states_they_have_alone() -> None:
    """A question of three tokens and two answers to it, as evaluation packs them."""
    model = Transformer(ModelConfig.model_validate(SHAPE)).initialize(torch.Generator().manual_seed(1)).eval()
    question, answers = [5, 9, 2], [[7, 1], [8, 3, 4]]
    packed = torch.tensor([[*question, *answers[0], *answers[1]]])
    positions = torch.tensor([[0, 1, 2, 3, 4, 3, 4, 5]])
    readable = torch.ones(8, 8, dtype=torch.bool).tril()
    readable[5:, 3:5] = False
    with torch.no_grad():
        together = model.states(packed, positions, readable.expand(1, 1, 8, 8))[0]
        alone = [model.states(torch.tensor([question + answer]))[0] for answer in answers]
    assert torch.allclose(together[:5], alone[0], atol=1e-5)
    assert torch.allclose(together[5:], alone[1][3:], atol=1e-5)
    with torch.no_grad():
        wrong = model.states(packed, None, readable.expand(1, 1, 8, 8))[0]
    assert not torch.allclose(wrong[5:], alone[1][3:], atol=1e-5), "positions matter"
