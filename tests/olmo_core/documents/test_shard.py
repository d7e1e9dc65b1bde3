from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import SHIPPED_SHA256, write_tar
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from samples import few_documents

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.documents.digests import DIGEST, digest_row
from olmo_core.documents.document import Document, read_documents, sanitise
from olmo_core.documents.shard import DocumentsConfig, Source, documents_steps, make_documents, read_report, write_shard

PACKAGE = Step("package", "kit", 1, {"filename": "kit.tar.gz"})
PAGES: dict[str, Any] = {"reader": "restructured", "package": "kit", "members": ["*.txt"]}


def step(shard: int = 0, **changes: Any) -> Step:
    config = DocumentsConfig.model_validate({"source": PAGES} | changes)
    return documents_steps("pages", config, {"kit": PACKAGE, "other": Step("package", "other", 1)})[shard]


def test_shard_has_every_nth_page_with_its_address(tmp_path: Path) -> None:
    write_tar(tmp_path / "kit.tar.gz", {f"kit/{name}.txt": name.encode() for name in "abcde"})
    found = []
    for shard in range(3):
        out = tmp_path / str(shard)
        out.mkdir()
        made = step(shard, shards=3)
        assert made.label == f"documents/pages-{shard:05d}"
        make_documents(Job(step=made, inputs={"kit": Artifact(PACKAGE, None, tmp_path)}, out=out))  # type: ignore[arg-type]
        found.append(list(read_documents(out / "shard.jsonl.gz")))
    assert [[document.text for document in shard] for shard in found] == [["a", "d"], ["b", "e"], ["c"]]
    assert found[1][0] == Document("kit/b.txt", "b", source="kit.tar.gz!kit/b.txt")


@settings(deadline=None)
@given(few_documents, st.integers(1, 4))
def test_documents_are_written_or_counted_as_dropped(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document], least: int
) -> None:
    folder = tmp_path_factory.mktemp("shard")
    report = write_shard(folder, documents, least)
    written = list(read_documents(folder / "shard.jsonl.gz"))
    long = [document for document in documents if len(sanitise(document.text)) >= least]
    assert [document.id for document in written] == [document.id for document in long]
    short = len(documents) - len(long)
    assert (
        report
        == read_report(folder)
        == {
            "documents_read": len(documents),
            "dropped": {"shorter than min_characters": short} if short else {},
            "documents": len(long),
            "bytes": sum(document.bytes for document in written),
        }
    )
    digests = (folder / "digests.bin").read_bytes()
    assert digests == b"".join(map(digest_row, written))
    assert np.frombuffer(digests, dtype=DIGEST)["bytes"].sum() == report["bytes"]


def test_shard_identity_excludes_corpus_settings() -> None:
    assert step().inputs == {"kit": PACKAGE}
    assert set(step().fields) == {"source", "min_characters", "shards", "shard"}
    assert step().id == step().id
    for change in (
        {"shards": 2},
        {"min_characters": 2},
        {"shards": 2, "shard": 1},
        {"source": PAGES | {"members": ["*.rst"]}},
    ):
        assert step(**change).id != step().id
    with pytest.raises(ValueError, match=r"corpora\.pages\.source\.package: no package 'kit'.*\['other'\]"):
        documents_steps("pages", DocumentsConfig.model_validate({"source": PAGES}), {"other": PACKAGE})


def test_shipped_text_needs_no_package() -> None:
    source = {"reader": "shipped", "file": "micro.jsonl.gz", "sha256": SHIPPED_SHA256, "books": ["proverbs"]}
    config = DocumentsConfig.model_validate({"source": source, "shards": 2})
    assert documents_steps("wisdom", config, {})[0].inputs == {}
    parts = [list(config.source.read_shard({}, shard, 2)) for shard in range(2)]
    # Proverbs has 31 chapters.
    assert [len(part) for part in parts] == [16, 15]
    assert parts[1][0].id == "proverbs/002" and parts[1][0].source == "micro.jsonl.gz"


def test_unknown_reader_or_option_is_refused() -> None:
    sources: TypeAdapter[Any] = TypeAdapter(Source)
    with pytest.raises(ValidationError, match="restructured"):
        sources.validate_python({"reader": "pdf", "package": "kit"})
    with pytest.raises(ValidationError, match="colour"):
        sources.validate_python({"reader": "wikipedia", "package": "kit", "member": "x", "colour": "red"})
