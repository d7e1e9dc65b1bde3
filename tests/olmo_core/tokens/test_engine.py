"""Both engines find the same ids; a missing, failing or wrong fast engine never changes a byte of a token file."""

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from engine_samples import ADVERSARIAL, steps
from executor import Make
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from olmo_core.documents.document import Document
from olmo_core.tokens import engine, token_file
from olmo_core.tokens.engine import Checked, Encoded, EngineError, Fast, Reference, run_encoder
from olmo_core.tokens.tokenizer import load_tokenizer

WORDS = st.sampled_from([*ADVERSARIAL[:14], "the ", "kingdom", "'s", "        ", "\u0301", "\u200d", "<|", "|||"])
TEXTS = st.lists(st.text() | st.lists(WORDS | st.text(max_size=4), max_size=8).map("".join), max_size=6)


def own(make: Make) -> Tokenizer:
    return load_tokenizer(make(steps().inputs["tokenizer"]).path)[0]


def neox(make: Make) -> Tokenizer:
    """Return a tokenizer with what that of OLMo 1 has: NFC, ByteLevel's own pattern, added tokens of spaces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [document.text for document in documents(make)]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(" " * count, normalized=True) for count in (8, 4, 2)])
    tokenizer.add_tokens([AddedToken("|||IP_ADDRESS|||", normalized=False)])
    tokenizer.encode_special_tokens = True
    return tokenizer


def documents(make: Make) -> list[Document]:
    inputs = {role: make(step).path for role, step in steps().inputs.items()}
    return list(token_file.read_kept(inputs["corpus"], inputs["documents"], 0))


def rows(encoded: Encoded) -> list[list[int]]:
    return [each.tolist() for each in np.split(encoded.ids, encoded.ends)[:-1]]


def expected(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [each.ids for each in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


@pytest.mark.parametrize("kind", [own, neox])
@pytest.mark.parametrize("as_text", [True, False], ids=["special-as-text", "special-as-control"])
def test_engines_find_the_ids_of_the_library(make: Make, kind: Callable[[Make], Tokenizer], as_text: bool) -> None:
    pytest.importorskip("gigatoken")
    tokenizer = kind(make)
    tokenizer.encode_special_tokens = as_text
    encoders = [Fast(tokenizer), Reference(tokenizer, 2)]
    texts = [*ADVERSARIAL, *(document.text for document in documents(make))]
    for encode in encoders:
        assert rows(encode(texts)) == expected(tokenizer, texts)
        assert rows(encode([])) == []
        assert rows(encode(["", "", ""])) == [[], [], []]
    assert encoders[0](texts).ids.dtype == encoders[1](texts).ids.dtype == np.uint32

    @settings(max_examples=150, deadline=None)
    @given(TEXTS)
    def check(texts: list[str]) -> None:
        for encode in encoders:
            assert rows(encode(texts)) == expected(tokenizer, texts)

    check()


def test_a_new_cache_finds_the_same_ids(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    gigatoken = pytest.importorskip("gigatoken")
    tokenizer = own(make)
    made: list[bytes] = []
    read = gigatoken.Tokenizer.from_json
    monkeypatch.setattr(gigatoken.Tokenizer, "from_json", lambda content: made.append(content) or read(content))
    monkeypatch.setattr(engine, "_RENEWAL_BYTES", 10)
    fast = Fast(tokenizer)
    for _ in range(3):
        assert rows(fast(["wisdom is", " the principal"])) == expected(tokenizer, ["wisdom is", " the principal"])
    assert len(made) == 3


def test_reference_encodes_as_many_texts_at_once_as_it_has_threads() -> None:
    now, most, lock = 0, 0, threading.Lock()

    def encode(texts: list[str], add_special_tokens: bool) -> list[Any]:
        nonlocal now, most
        assert len(texts) == 1 and not add_special_tokens
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return [SimpleNamespace(ids=[int(texts[0])])]

    reference = Reference(SimpleNamespace(encode_batch_fast=encode), 2)  # type: ignore[arg-type]
    assert rows(reference([str(number) for number in range(8)])) == [[number] for number in range(8)]
    assert most == 2


def fixed(*wrong: str) -> Callable[[Sequence[str]], Encoded]:
    """Return an engine whose ids are the lengths of the texts, except for some."""

    def encode(texts: Sequence[str]) -> Encoded:
        ids = [99 if text in wrong else len(text) for text in texts]
        return Encoded(np.array(ids, np.uint32), np.arange(1, len(texts) + 1))

    return encode


def test_only_first_documents_and_special_texts_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHECKED_DOCUMENTS", 3)
    asked: list[str] = []

    def reference(texts: Sequence[str]) -> Encoded:
        asked.extend(texts)
        return fixed()(texts)

    checked = Checked(fixed("late", "<|end|>!"), reference, 100, ["<|end|>", "[x]"])
    checked(["a", "bb"])
    checked(["ccc", "late", "<|", "x[x]", "<|end|"])
    assert asked == ["a", "bb", "ccc", "x[x]"]
    with pytest.raises(EngineError, match=r"find other ids for the text '<\|end\|>!'"):
        checked(["f", "<|end|>!"])


def test_comparison_ends_with_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHECKED_BYTES", 4)
    checked = Checked(fixed("wrong"), fixed(), 100, [])
    checked(["\u00e9\u00e9", "wrong"])  # four bytes
    with pytest.raises(EngineError):
        Checked(fixed("wrong"), fixed(), 100, [])(["\u00e9a", "wrong"])


def test_panics_fall_back_and_interruptions_do_not(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    gigatoken = pytest.importorskip("gigatoken")
    tokenizer = own(make)
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    for error, outcome in ((panic("index out of bounds"), EngineError), (KeyboardInterrupt(), KeyboardInterrupt)):

        def fail(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        fast = Fast(tokenizer)
        monkeypatch.setattr(fast, "_tokenizer", SimpleNamespace(encode_batch=fail))
        with pytest.raises(outcome):
            fast(["a"])
        with monkeypatch.context() as patch:
            patch.setattr(gigatoken.Tokenizer, "from_json", fail)
            with pytest.raises(outcome):
                Fast(tokenizer)


def test_lone_surrogates_are_refused_by_both(make: Make) -> None:
    tokenizer = own(make)
    with pytest.raises((TypeError, UnicodeEncodeError)):
        run_encoder(tokenizer, 400, 1, lambda encode: encode(["a\ud800"]))
