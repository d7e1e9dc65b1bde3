import csv
import gzip
import time
from pathlib import Path

import numpy as np
import pytest
from archives import SHIPPED_SHA256
from executor import Make
from tokenizers import Tokenizer

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.documents.corpus import CorpusConfig, corpus_step
from olmo_core.documents.document import Document
from olmo_core.documents.kept import kept_file, read_kept
from olmo_core.documents.shard import write_shard
from olmo_core.tokens.special_tokens import SpecialTokens
from olmo_core.tokens.token_file import make_tokens, read_token_files, tokens_step
from olmo_core.tokens.tokenizer import BpeConfig, tokenizer_step


def steps(shards: int = 1, shard: int = 0) -> Step:
    source = {"reader": "shipped", "file": "micro.jsonl.gz", "sha256": SHIPPED_SHA256, "books": ["proverbs"]}
    config = CorpusConfig.model_validate({"source": source, "licence": "CC0-1.0", "heldout": 0.1, "shards": shards})
    corpus = corpus_step("wisdom", config, {})
    return tokens_step(corpus, shard, tokenizer_step("t", BpeConfig(kind="bpe", vocab_size=400), {"wisdom": corpus}))


def test_every_document_is_followed_by_eos(make: Make, results: dict[str, dict[str, object]]) -> None:
    step = steps(shards=2, shard=1)
    made = make(step)
    [about] = read_token_files(made.path)
    assert (about.file, about.dtype, about.vocab_size, about.eos_id) == ("part-00001.npy", "uint16", 400, 0)
    assert results[step.id]["tokens"] == about.tokens
    assert sorted(file.name for file in made.path.iterdir()) == ["part-00001.csv.gz", "part-00001.npy", "tokens.json"]

    # Reference: one document at a time, directly with the library.
    tokenizer = Tokenizer.from_file(str(make(step.inputs["tokenizer"]).path / "tokenizer.json"))
    documents = list(read_kept(make(step.inputs["corpus"]).path, make(step.inputs["documents"]).path, 1))
    expected = [[*tokenizer.encode(document.text).ids, 0] for document in documents]
    ids = np.fromfile(made.path / about.file, dtype="<u2")
    assert ids.tolist() == [i for document in expected for i in document]
    assert (about.tokens, about.documents) == (len(ids), len(documents))

    with gzip.open(made.path / "part-00001.csv.gz", "rt") as rows:
        spans = [(int(start), int(end), *about) for start, end, *about in csv.reader(rows)]
    assert [about for _, _, *about in spans] == [[document.id, "micro.jsonl.gz"] for document in documents]
    assert [ids[start:end].tolist() for start, end, *_ in spans] == expected


def test_eos_text_does_not_end_a_document(make: Make, tmp_path: Path) -> None:
    made = make(steps())
    step = made.step
    corpus, documents, out = (tmp_path / name for name in ("corpus", "documents", "out"))
    for folder in (corpus, documents, out):
        folder.mkdir()
    write_shard(
        documents,
        [Document('tricky, "quoted"', "one<|endoftext|>two"), Document("out", "left out"), Document("next", "three")],
    )
    (corpus / kept_file(0)).write_bytes(b"\xa0")  # the first and the third
    inputs = {
        "corpus": Artifact(step.inputs["corpus"], None, corpus),  # type: ignore[arg-type]
        "documents": Artifact(step.inputs["documents"], None, documents),  # type: ignore[arg-type]
        "tokenizer": make(step.inputs["tokenizer"]),
    }
    make_tokens(Job(step=step, inputs=inputs, out=out))
    ids = np.fromfile(out / "part-00000.npy", dtype=np.uint16)
    assert np.count_nonzero(ids == 0) == 2
    with gzip.open(out / "part-00000.csv.gz", "rt") as rows:
        assert [row[2] for row in csv.reader(rows)] == ['tricky, "quoted"', "next"]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "uint16"), (65_537, "uint32")])
def test_id_width_follows_vocabulary(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vocab_size: int, dtype: str
) -> None:
    made = make(steps())
    tokenizer = Tokenizer.from_file(str(make(made.step.inputs["tokenizer"]).path / "tokenizer.json"))
    special = SpecialTokens("e", vocab_size - 1, "p", 1, vocab_size)
    monkeypatch.setattr("olmo_core.tokens.token_file.load_tokenizer", lambda folder: (tokenizer, special))
    out = tmp_path / "out"
    out.mkdir()
    inputs = {role: make(step) for role, step in made.step.inputs.items()}
    result = make_tokens(Job(step=made.step, inputs=inputs, out=out))
    ids = np.fromfile(out / "part-00000.npy", dtype=dtype)
    assert result["dtype"] == dtype
    assert len(ids) == result["tokens"]
    assert ids[-1] == vocab_size - 1


def test_token_file_bytes_ignore_clock(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(steps())
    monkeypatch.setattr(time, "time", lambda: 5e8)
    out = tmp_path / "out"
    out.mkdir()
    make_tokens(Job(step=made.step, inputs={r: make(s) for r, s in made.step.inputs.items()}, out=out))
    for file in made.path.iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes()


def test_token_file_of_another_size_is_refused(make: Make) -> None:
    made = make(steps())
    [about] = read_token_files(made.path)
    with (made.path / about.file).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match=rf"part-00000\.npy has {about.tokens * 2 + 1} bytes"):
        read_token_files(made.path)
    (made.path / "tokens.json").write_text('{"file": "x"}')
    with pytest.raises(ValueError, match=r"tokens\.json: .*tokenise the shard again"):
        read_token_files(made.path)


def test_missing_shard_is_refused() -> None:
    with pytest.raises(ValueError, match="corpus wisdom has shards 0 to 1, not 2"):
        steps(shards=2, shard=2)
    assert steps(shards=2, shard=0).id != steps(shards=2, shard=1).id
