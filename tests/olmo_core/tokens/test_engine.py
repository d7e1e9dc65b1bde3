"""Both engines find the same ids; a missing, failing or wrong fast engine never changes a byte of a token file."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from archives import SHIPPED_SHA256
from executor import Make
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job, Placement
from olmo_core.documents.corpus import CorpusConfig, corpus_step
from olmo_core.documents.document import Document
from olmo_core.documents.kept import kept_file
from olmo_core.documents.shard import write_shard
from olmo_core.tokens import engine, token_file
from olmo_core.tokens.engine import Checked, Encoded, EngineError, Fast, Reference, run_encoder
from olmo_core.tokens.token_file import make_tokens, tokens_step
from olmo_core.tokens.tokenizer import BpeConfig, load_tokenizer, tokenizer_step

ADVERSARIAL = [
    "",
    " ",
    "\0",
    "a\0b",
    "<|endoftext|>",
    "a<|endoftext|><|pad|> b<|endoftext|",
    "|||IP_ADDRESS||| and |||IP_ADDRESS||",
    "e\u0301 cafe\u0301 \u1112\u1161\u11ab \u0041\u030a\u0323 \u0344\u212b",
    "\u0301\u0301\u0301 combining first",
    "漢字かな交じり文。中文文本没有空格",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
    "don't DON'T we'LL \u017f'\u017f I'M they'Re",
    "1234567890 12 \u0663\u0664\u0665 \u00bd \u2167",
    "a  b   c\t\td \n\n \r\n \r e\u00a0f\u3000g\u2003h\x0b\x0c\x85i ",
    "a" * 3000,
    " " * 3000 + "x",
    "\n" * 500,
    "ab" * 2000 + "!?" * 2000,
    "\ufeff\ufffe\U0010ffff\ue000\u202eabc",
]
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


def steps() -> Step:
    source = {"reader": "shipped", "file": "micro.jsonl.gz", "sha256": SHIPPED_SHA256, "books": ["proverbs"]}
    config = CorpusConfig.model_validate({"source": source, "licence": "CC0-1.0", "heldout": 0.1})
    corpus = corpus_step("wisdom", config, {})
    return tokens_step(corpus, 0, tokenizer_step("t", BpeConfig(kind="bpe", vocab_size=400), {"wisdom": corpus}))


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


class Broken:
    """A fast engine with the right ids until a call, in which it fails in some way."""

    how = "id"
    call = 0

    def __init__(self, tokenizer: Tokenizer) -> None:
        if self.how == "tokenizer":
            raise EngineError("gigatoken cannot read this tokenizer")
        self._reference = Reference(tokenizer, 1)
        self._calls = 0

    def __call__(self, texts: Sequence[str]) -> Encoded:
        found = self._reference(texts)
        self._calls += 1
        if self._calls <= self.call:
            return found
        if self.how == "raises":
            raise EngineError("gigatoken failed: out of words")
        if self.how == "id":  # of the third document
            found.ids[found.ends[1]] ^= 1
        if self.how == "vocabulary":
            found.ids[-1] = 2**16 + 5  # as 16 bits, a fine id
        if self.how == "rows":
            return Encoded(found.ids, found.ends[:-1])
        if self.how == "shifted":  # the same ids in all, cut in another place
            found.ends[1] += 1
        return found


@pytest.fixture
def tokens(make: Make, tmp_path: Path) -> Callable[[str], dict[str, bytes]]:
    """Return a function that makes token files of documents of all kinds, and returns their bytes."""
    step = steps()
    texts = ["the fear of the LORD", *(text for text in ADVERSARIAL if text.strip()), "my son, hear " * 20] * 3
    folders = {role: tmp_path / role for role in ("corpus", "documents")}
    for folder in folders.values():
        folder.mkdir()
    report = write_shard(
        folders["documents"],
        [Document(f"{n}", text, metadata={"n": n} if n % 3 else {}) for n, text in enumerate(texts)],
    )
    (folders["corpus"] / kept_file(0)).write_bytes(b"\xff" * (report["documents"] // 8 + 1))
    inputs = {role: Artifact(step.inputs[role], None, folder) for role, folder in folders.items()}  # type: ignore[arg-type]
    inputs["tokenizer"] = make(step.inputs["tokenizer"])

    def run(name: str, threads: int = 2) -> dict[str, bytes]:
        out = tmp_path / name
        out.mkdir()
        result = make_tokens(Job(step=step, inputs=inputs, out=out, placement=Placement(threads=threads)))
        files = {path.name: path.read_bytes() for path in out.iterdir()}
        assert len(files) == 4 and result["documents"] > 50
        return {**files, "result": repr(result).encode()}

    return run


@pytest.fixture
def right(tokens: Callable[[str], dict[str, bytes]]) -> dict[str, bytes]:
    """Return the bytes that the reference alone gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "gigatoken", None)
        return tokens("right")


def test_without_the_library_a_warning_and_the_same_bytes(
    right: dict[str, bytes], tokens: Callable[[str], dict[str, bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    [warning] = [record.getMessage() for record in caplog.get_records("setup")]
    assert "gigatoken cannot be imported" in warning and "tokenizers encodes the whole shard" in warning
    pytest.importorskip("gigatoken")
    assert tokens("fast") == right
    assert not caplog.get_records("call")


@pytest.mark.parametrize(
    ("how", "call", "message"),
    [
        ("id", 0, "find other ids for the text"),
        ("shifted", 0, "find other ids for the text"),
        ("raises", 0, "out of words"),
        ("raises", 4, "out of words"),
        ("vocabulary", 4, "outside the vocabulary"),
        ("rows", 4, "another number of texts"),
        ("tokenizer", 0, "cannot read this tokenizer"),
    ],
)
def test_a_broken_engine_is_replaced_and_the_bytes_are_right(
    right: dict[str, bytes],
    tokens: Callable[[str], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
    call: int,
    message: str,
) -> None:
    monkeypatch.setattr(engine, "Fast", type("Stub", (Broken,), {"how": how, "call": call}))
    monkeypatch.setattr(token_file, "_BATCH_CHARACTERS", 500)
    assert tokens("broken") == right
    [warning] = [record for record in caplog.get_records("call") if record.levelname == "WARNING"]
    assert message in warning.getMessage()


@pytest.mark.parametrize("characters", [1, 700, 10**9])
@pytest.mark.parametrize("library", [True, False], ids=["fast", "reference"])
def test_batches_and_threads_do_not_change_a_byte(
    right: dict[str, bytes],
    tokens: Callable[..., dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    characters: int,
    library: bool,
) -> None:
    if library:
        pytest.importorskip("gigatoken")
    else:
        monkeypatch.setitem(sys.modules, "gigatoken", None)
    monkeypatch.setattr(token_file, "_BATCH_CHARACTERS", characters)
    assert tokens("one", threads=1) == right
    assert tokens("three", threads=3) == right
    assert len(caplog.get_records("call")) == (0 if library else 2)


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
