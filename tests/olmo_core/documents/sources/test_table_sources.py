"""Parquet, separated values and text: every row once, cut or not, and what is not a document is named or counted."""

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from olmo_core.documents.document import Document
from olmo_core.documents.file_digests import FileDigests
from olmo_core.documents.listing import ListingError, list_files
from olmo_core.documents.sources.files import BadRow, BadRowError, FileSource
from olmo_core.documents.sources.parquet import ParquetSource
from olmo_core.documents.sources.separated import SeparatedSource
from olmo_core.documents.sources.text import TextSource

READERS: dict[str, type[FileSource]] = {"parquet": ParquetSource, "csv": SeparatedSource, "text": TextSource}


def read(reader: str, folder: Path, **changes: Any) -> list[Document | BadRow]:
    values = {"reader": reader, "paths": [str(folder)], "on_bad_row": "skip"} | changes
    found = READERS[reader].model_validate(values)
    shards = found.shards(list_files(found.paths, FileDigests().of))
    return [row for pieces in shards for row in found.documents(pieces)]


def reasons(rows: list[Document | BadRow], folder: Path) -> list[tuple[str, str]]:
    return [(row.where.removeprefix(f"{folder}/"), row.reason) for row in rows if isinstance(row, BadRow)]


def write(path: Path, columns: dict[str, Any], group: int = 3) -> None:
    parquet.write_table(pa.table(columns), path, row_group_size=group)


texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=20)


@settings(deadline=None)
@given(texts, st.integers(1, 2000), st.integers(1, 7))
def test_every_row_of_a_cut_parquet_file_is_read_once(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], most: int, group: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    write(folder / "a.parquet", {"other": texts, "text": pa.array(texts, pa.string())}, group)
    found = [row for row in read("parquet", folder, shard_bytes=most) if isinstance(row, Document)]
    address = f"{folder}/a.parquet"
    assert found == [Document(f"{address}:{n}", text, source=address) for n, text in enumerate(texts)]


def test_parquet_columns_may_be_nested_and_null(tmp_path: Path) -> None:
    meta = [{"url": "u", "n": 1}, {"url": None, "n": 2}, None]
    write(tmp_path / "a.parquet", {"body": ["x", None, "z"], "id": [7, 8, 9], "meta": meta})
    columns = {"text": "body", "metadata": ["meta.url", "meta.n"]}
    found = read("parquet", tmp_path, columns=columns)
    assert found[0] == Document("7", "x", "", f"{tmp_path}/a.parquet", {"meta.url": "u", "meta.n": 1})
    assert found[2] == Document("9", "z", "", f"{tmp_path}/a.parquet")
    assert reasons(found, tmp_path) == [("a.parquet, row 1", "no text")]


def test_parquet_without_the_column_lists_those_there_are(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"body": ["x"], "id": ["1"]})
    with pytest.raises(BadRowError, match=r"a\.parquet: there is no column 'text'; there are body, id; correct it"):
        read("parquet", tmp_path, on_bad_row="fail")


@pytest.mark.parametrize("content", [b"PAR1", b"not at all", b"PAR1" + b"\0" * 200 + b"PAR1"])
def test_damaged_parquet_is_one_bad_row(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    assert reasons(read("parquet", tmp_path), tmp_path) == [("a.parquet", "damaged file")]


def test_truncated_parquet_is_one_bad_row(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"text": ["x" * 99] * 50})
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    assert reasons(read("parquet", tmp_path), tmp_path) == [("a.parquet", "damaged file")]


def test_changed_parquet_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"text": ["x"]})
    found = ParquetSource.model_validate({"reader": "parquet", "paths": [str(tmp_path)]})
    (pieces,) = found.shards(list_files(found.paths, FileDigests().of))
    write(tmp_path / "a.parquet", {"text": ["x", "yyyy"]})
    with pytest.raises(ListingError, match="has changed since"):
        list(found.documents(pieces))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text("ab\n\",'é ", max_size=9), st.integers()), min_size=1, max_size=9),
    st.sampled_from(",\t;"),
)
def test_separated_values_are_those_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], delimiter: str
) -> None:
    folder, out = tmp_path_factory.mktemp("table"), io.StringIO(newline="")
    table = csv.writer(out, delimiter=delimiter)
    table.writerows([("text", "number"), *rows])
    (folder / "a.csv.gz").write_bytes(gzip.compress(out.getvalue().encode()))
    found = read("csv", folder, delimiter=delimiter, columns={"metadata": ["number"]})
    assert found == [
        Document(f"{folder}/a.csv.gz:{n}", text, "", f"{folder}/a.csv.gz", {"number": str(number)})
        for n, (text, number) in enumerate(rows, start=1)
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"id,text\n1,a\n2\n3,c,d\n4,e\n",
            [("a.csv, line 3", "wrong number of values"), ("a.csv, line 4", "wrong number of values")],
        ),
        (b'id,text\n1,a\n2,"open\n3,c\n', [("a.csv, after line 4", "not CSV")]),
        (b"id,text\n1,a\n2,\xff\n", [("a.csv, after line 0", "not CSV")]),
        (b"id,body\n1,a\n", [("a.csv, line 2", "no text")]),
    ],
)
def test_row_of_a_table_that_is_no_document_is_named(
    tmp_path: Path, content: bytes, expected: list[tuple[str, str]]
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert reasons(read("csv", tmp_path), tmp_path) == expected


def test_text_file_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbf# One\n\ntext\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress("zwölf".encode()))
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
    found = read("text", tmp_path)
    assert [(row.id, row.text) for row in found if isinstance(row, Document)] == [
        (f"{tmp_path}/a.md", "# One\n\ntext\n"),
        (f"{tmp_path}/b.txt.gz", "zwölf"),
    ]
    assert reasons(found, tmp_path) == [("c.txt", "not UTF-8")]


def test_text_file_beyond_the_limit_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olmo_core.documents.sources.text.MAX_BYTES", 10)
    (tmp_path / "a.txt").write_bytes(b"x" * 11)
    (tmp_path / "b.txt").write_bytes(b"x" * 10)
    assert reasons(read("text", tmp_path), tmp_path) == [("a.txt", "file too long")]
