"""Sidecars of a token file: rows as OLMo-core reads them, and the attributes of documents."""

import csv
import gzip
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import marked

from olmo_core.documents.document import Document, clean
from olmo_core.tokens.sidecar import Attributes, SidecarWriter


def written(folder: Path, documents: list[Document]) -> dict[str, bytes]:
    with SidecarWriter(folder, 3) as writer:
        for number, document in enumerate(documents):
            writer.write(10 * number, [10 * number + 10], [document])
    return {path.name: gzip.decompress(path.read_bytes()) for path in folder.iterdir()}


@settings(deadline=None)
@given(st.lists(marked().map(clean), max_size=6))
def test_rows_parse_like_olmo_core(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> None:
    """`iter_document_indices` of OLMo-core splits each line at its commas and uses the first two values."""
    folder = tmp_path_factory.mktemp("sidecar")
    written(folder, documents)
    with gzip.open(folder / "part-00003.csv.gz", "rt", encoding="utf-8") as lines:
        pairs = []
        for line in lines:
            start, end, *_ = line.split(",")
            pairs.append((int(start), int(end)))
    assert pairs == [(10 * number, 10 * number + 10) for number in range(len(documents))]
    with gzip.open(folder / "part-00003.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        rows = [row[2:] for row in csv.reader(lines)]
    assert rows == [[each.id, each.source] if each.source else [each.id] for each in documents]


@settings(deadline=None)
@given(st.lists(marked().map(clean), max_size=6))
def test_attributes_refer_to_rows(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> None:
    found = written(tmp_path_factory.mktemp("sidecar"), documents).get("part-00003.attributes.jsonl.gz", b"")
    assert msgspec.json.Decoder(Attributes).decode_lines(found) == [
        Attributes(row, each.metadata, each.spans) for row, each in enumerate(documents) if each.metadata or each.spans
    ]


def test_plain_documents_write_no_attributes_file(tmp_path: Path) -> None:
    assert written(tmp_path, [Document("a", "x"), Document("b", "y", "group")]) == {
        "part-00003.csv.gz": b"0,10,a\n10,20,b\n"
    }


def test_attribute_lines_omit_empty_fields(tmp_path: Path) -> None:
    documents = [
        Document("a", "x", metadata={"z": 1, "b": "c"}),
        Document("b", "y"),
        Document("c", "z", spans={"s": [(0, 1, None)]}),
    ]
    assert written(tmp_path, documents)["part-00003.attributes.jsonl.gz"].splitlines() == [
        b'{"row":0,"metadata":{"b":"c","z":1}}',
        b'{"row":2,"spans":{"s":[[0,1,null]]}}',
    ]
