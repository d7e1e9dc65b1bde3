import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.evaluate import scorer
from olmo_core.evaluate.scorer import Tree, in_batches, score
from olmo_core.model.transformer import Transformer

TOKEN = st.integers(0, 5)  # Few tokens, so that requests share long prefixes.
REQUEST = st.tuples(st.lists(TOKEN, min_size=1, max_size=12), st.lists(TOKEN, min_size=1, max_size=8))


def one_by_one(model: Transformer, context: list[int], continuation: list[int]) -> float:
    """Score one request without packing: the whole text in one pass, the full softmax at every position."""
    tokens = torch.tensor([[*context, *continuation]])
    with torch.no_grad():
        logprobs = model(tokens)[0].double().log_softmax(-1)
    places = range(len(context) - 1, tokens.shape[1] - 1)
    return sum(float(logprobs[place, tokens[0, place + 1]]) for place in places)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(REQUEST, min_size=1, max_size=5), min_size=1, max_size=6))
def test_packed_scores_match_single_requests(model: Transformer, rows: list[list[tuple[list[int], list[int]]]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer, "HEAD_ROWS", 3)  # So that the head processes a row in several chunks.
        scores = score(model, [Tree.of(row) for row in rows])
    for row, values in zip(rows, scores, strict=True):
        assert values == pytest.approx([one_by_one(model, *request) for request in row], abs=1e-4)


def test_scores_match_transformers(model: Transformer) -> None:
    transformers = pytest.importorskip("transformers")
    config = model.config
    other = transformers.Olmo2ForCausalLM(
        transformers.Olmo2Config(
            vocab_size=config.padded_vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.hidden_size,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            tie_word_embeddings=False,
            pad_token_id=1,
            eos_token_id=0,
        )
    ).eval()
    own = model.state_dict()
    names = {
        "embed_tokens": "embeddings",
        "model.norm": "norm",
        "lm_head": "head",
        "self_attn.q_proj": "attention.w_q",
        "self_attn.k_proj": "attention.w_k",
        "self_attn.v_proj": "attention.w_v",
        "self_attn.o_proj": "attention.w_out",
        "self_attn.q_norm": "attention.q_norm",
        "self_attn.k_norm": "attention.k_norm",
        "mlp.gate_proj": "feed_forward.w1",
        "mlp.down_proj": "feed_forward.w2",
        "mlp.up_proj": "feed_forward.w3",
        "post_attention_layernorm": "attention_norm",
        "post_feedforward_layernorm": "feed_forward_norm",
        "layers": "blocks",
    }

    def native(name: str) -> str:
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        return name.removeprefix("model.")

    other.load_state_dict({name: own[native(name)] for name in other.state_dict()})
    random = np.random.default_rng(3)
    context = random.integers(0, 290, 20).tolist()
    choices = [random.integers(0, 290, size).tolist() for size in (1, 4, 9)]
    (values,) = score(model, [Tree.of([(context, choice) for choice in choices])])
    for choice, value in zip(choices, values, strict=True):
        with torch.no_grad():
            logprobs = other(torch.tensor([context + choice])).logits[0].double().log_softmax(-1)
        expected = sum(float(logprobs[len(context) - 1 + i, token]) for i, token in enumerate(choice))
        assert value == pytest.approx(expected, abs=1e-4)


def test_shared_prefix_is_fed_once() -> None:
    tree = Tree.of([([1, 2, 3], [4, 5, 6]), ([1, 2, 3], [4, 5, 7]), ([1, 2, 3], [8]), ([9], [8])])
    assert tree.tokens == [1, 2, 3, 4, 5, 9]  # 6, 7 and both 8 are only predicted.
    assert tree.parents == [-1, 0, 1, 2, 3, -1]
    assert tree.depths == [0, 1, 2, 3, 4, 0]
    assert list(tree.edges) == [(2, 4), (3, 5), (4, 6), (4, 7), (2, 8), (5, 8)]
    assert tree.paths == [[0, 1, 2], [0, 1, 3], [4], [5]]
    assert not tree.is_chain
    assert tree.ancestry(7)[4].tolist() == [True, True, True, True, True, False, False]
    assert tree.ancestry(7)[5].tolist() == [False] * 5 + [True, False]
    assert tree.ancestry(7)[6].tolist() == [False] * 6 + [True]  # Padding attends to itself: no row is without a key.


def test_plain_text_is_a_chain() -> None:
    assert Tree.of([([0], [5, 6, 7])]).is_chain


@pytest.mark.parametrize("request_", [([], [1]), ([1], [])])
def test_request_without_tokens_is_refused(request_: tuple[list[int], list[int]]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        Tree.of([request_])


@given(st.lists(st.integers(1, 3000), max_size=60))
def test_batches_cover_rows_once_within_budget(lengths: list[int]) -> None:
    batches = in_batches(lengths)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest <= scorer.BATCH_TOKENS


def test_batching_changes_scores_only_by_rounding(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    rows = [[(random.integers(0, 290, n).tolist(), random.integers(0, 290, 5).tolist())] * 2 for n in range(1, 30)]
    trees = [Tree.of(row) for row in rows]
    together = score(model, trees)
    monkeypatch.setattr(scorer, "BATCH_TOKENS", 1)
    monkeypatch.setattr(scorer, "HEAD_ROWS", 3)
    alone = score(model, trees)
    assert np.allclose(together, alone, atol=1e-4, rtol=0)


def test_threads_change_no_bit_and_restore_setting(model: Transformer) -> None:
    random = np.random.default_rng(6)
    trees = [Tree.of([(random.integers(0, 290, 30).tolist(), random.integers(0, 290, 9).tolist())]) for _ in range(99)]
    assert len(in_batches([len(tree) for tree in trees])) > 2
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert score(model, trees, threads=1) == score(model, trees, threads=3)
        with ThreadPoolExecutor(1) as later:
            assert (torch.get_num_threads(), later.submit(torch.get_num_threads).result()) == (2, 2)
    finally:
        torch.set_num_threads(before)


def test_progress_counts_every_token(model: Transformer) -> None:
    trees = [Tree.of([([1] * n, [2, 3])]) for n in range(1, 40)]
    seen: list[int] = []
    score(model, trees, report=seen.append)
    assert sum(seen) == sum(len(tree) for tree in trees)


def test_zero_head_gives_uniform_probabilities(model: Transformer) -> None:
    even = Transformer(model.config).initialize(torch.Generator().manual_seed(0)).eval()
    torch.nn.init.zeros_(even.head.weight)
    ((value,),) = score(even, [Tree.of([([1, 2], [3, 4, 5])])])
    assert value == pytest.approx(-3 * math.log(model.config.padded_vocab_size), rel=1e-6)
