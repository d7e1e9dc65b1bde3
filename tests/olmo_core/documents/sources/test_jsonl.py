"""JSON lines: cutting a file changes no document, and a line that is no document is named or counted."""

import bz2
import gzip
import json
import lzma
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.artifact.files import LfsPointerError
from olmo_core.documents import byte_stream
from olmo_core.documents.document import Document
from olmo_core.documents.file_digests import FileDigests
from olmo_core.documents.listing import ListingError, list_files
from olmo_core.documents.pieces import shards_of_files
from olmo_core.documents.shard import read_report, write_shard
from olmo_core.documents.sources import jsonl
from olmo_core.documents.sources.files import BadRow, BadRowError
from olmo_core.documents.sources.jsonl import JsonlSource

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GOOD = b'{"id": "a", "text": "one"}\n'


def source(folder: Path, **changes: Any) -> JsonlSource:
    return JsonlSource.model_validate({"reader": "jsonl", "paths": [str(folder)], "on_bad_row": "skip"} | changes)


def read(folder: Path, **changes: Any) -> list[Document | BadRow]:
    found = source(folder, **changes)
    shards = found.shards(list_files(found.paths, FileDigests().of))
    return [row for pieces in shards for row in found.documents(pieces)]


def bad(folder: Path, content: bytes, name: str = "a.jsonl", **changes: Any) -> list[tuple[str, str]]:
    """Return where and why the bad rows of a file are bad."""
    (folder / name).write_bytes(content)
    rows = [row for row in read(folder, **changes) if isinstance(row, BadRow)]
    return [(row.where.removeprefix(f"{folder}/"), row.reason) for row in rows]


texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=12)
ends = st.sampled_from(["\n", "\r\n", "\n\n", " \n"])


@settings(deadline=None)
@given(texts, st.lists(ends, min_size=13, max_size=13), st.integers(1, 200), st.booleans())
def test_cut_file_has_the_same_documents_in_order(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], ends: list[str], most: int, ended: bool
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    lines = [json.dumps({"id": str(n), "text": text}, ensure_ascii=False) for n, text in enumerate(texts)]
    content = "".join(line + end for line, end in zip(lines, ends, strict=False))
    (folder / "a.jsonl").write_text(content if ended else content.rstrip(), newline="")
    found = read(folder, shard_bytes=most)
    assert [(row.id, row.text) for row in found if isinstance(row, Document)] == list(
        zip(map(str, range(len(texts))), texts, strict=True)
    )


def test_document_without_an_id_is_named_by_the_byte_its_line_begins_at(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "one"}\n\n{"text": "two"}\n')
    for most in (5, 20, 1000):
        assert read(tmp_path, shard_bytes=most) == [
            Document("a.jsonl:0", "one", source="a.jsonl"),
            Document("a.jsonl:17", "two", source="a.jsonl"),
        ]


def test_columns_may_be_nested_or_have_other_names(tmp_path: Path) -> None:
    row = {"body": "x", "meta": {"key": 7, "site": "s", "url": "u", "n": None}, "meta.n": 2}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    columns = {"text": "body", "id": "meta.key", "group": "meta.site", "metadata": ["meta.url", "meta.n", "none"]}
    (found,) = read(tmp_path, columns=columns)
    assert found == Document("7", "x", "s", "a.jsonl", {"meta.url": "u"})


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data[:40]) + gzip.compress(data[40:]),
    ".zst": lambda data: zstd.compress(data[:40]) + zstd.compress(data[40:]),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_file_is_read_whole(tmp_path: Path, suffix: str) -> None:
    lines = b"".join(json.dumps({"id": str(n), "text": f"text {n}"}).encode() + b"\n" for n in range(100))
    (tmp_path / f"a.jsonl{suffix}").write_bytes(COMPRESS[suffix](lines))
    assert [row.id for row in read(tmp_path, shard_bytes=10) if isinstance(row, Document)] == list(map(str, range(100)))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_damaged_file_is_one_bad_row_after_the_rows_before(tmp_path: Path, suffix: str) -> None:
    lines = b"".join(json.dumps({"id": str(n), "text": str(n) * 99}).encode() + b"\n" for n in range(3000))
    whole = COMPRESS[suffix](lines)
    assert bad(tmp_path, whole[: len(whole) // 2], f"a.jsonl{suffix}")[-1] == (f"a.jsonl{suffix}", "damaged file")
    assert bad(tmp_path, b"no such format at all", f"a.jsonl{suffix}") == [(f"a.jsonl{suffix}", "damaged file")]
    with pytest.raises(BadRowError, match=rf"a\.jsonl\{suffix}: the file is truncated or damaged: .*on_bad_row: skip"):
        read(tmp_path, on_bad_row="fail")


def test_file_that_grows_beyond_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_stream, "_HARMLESS_BYTES", 1000)
    monkeypatch.setattr(byte_stream, "MAX_RATIO", 20)
    assert bad(tmp_path, gzip.compress(b" " * 100_000), "a.jsonl.gz") == [("a.jsonl.gz", "damaged file")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (GOOD + b'{"id": "b", "text": \n', [("a.jsonl, line 2", "not a JSON object")]),
        (
            b"[1]\n" + GOOD + b'"x"\n',
            [("a.jsonl, line 1", "not a JSON object"), ("a.jsonl, line 3", "not a JSON object")],
        ),
        (b"\xff\xfe\n" + GOOD, [("a.jsonl, line 1", "not a JSON object")]),
        (b"[" * 100_000 + b"\n", [("a.jsonl, line 1", "not a JSON object")]),
        (b'{"id": "a"}\n', [("a.jsonl, line 1", "no text")]),
        (b'{"text": null}\n', [("a.jsonl, line 1", "no text")]),
        (b'{"text": 3}\n{"text": ["a"]}\n', [(f"a.jsonl, line {n}", "text of another type") for n in (1, 2)]),
        (b'{"text": "a", "id": {"x": 1}}\n', [("a.jsonl, line 1", "id of another type")]),
        (b'{"text": "a", "id": true}\n', [("a.jsonl, line 1", "id of another type")]),
        (GOOD + GOOD, [("a.jsonl, id 'a'", "repeated id")]),
        (b"", [("a.jsonl", "empty file")]),
    ],
)
def test_row_that_is_no_document_is_named(tmp_path: Path, content: bytes, expected: list[tuple[str, str]]) -> None:
    assert bad(tmp_path, content) == expected
    with pytest.raises(BadRowError, match=r"; correct it, or set on_bad_row: skip to leave it out$"):
        read(tmp_path, on_bad_row="fail")


def test_metadata_is_one_value(tmp_path: Path) -> None:
    content = b'{"text": "a", "tags": ["x"]}\n'
    assert bad(tmp_path, content, columns={"metadata": ["tags"]}) == [("a.jsonl, line 1", "metadata of another type")]
    assert bad(tmp_path, content) == [], "columns that are not named are not looked at"


def test_line_beyond_the_limit_is_left_out_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 100)
    content = b'{"id": "x", "text": "' + b"x" * 5_000_000 + b'"}\n' + GOOD
    assert bad(tmp_path, content) == [("a.jsonl, line 1", "line too long")]
    assert [row.id for row in read(tmp_path) if isinstance(row, Document)] == ["a"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\xef\xbb\xbf" + GOOD, "one"),
        (b'{"id": "a", "text": "\\ud800x\\u0000y"}\n', "\ud800x\x00y"),
        (b'{"id": "a", "text": "one", "text": "two"}', "two"),
    ],
)
def test_odd_text_is_read_and_cleaned_later(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    assert [row.text for row in read(tmp_path) if isinstance(row, Document)] == [text]


def test_report_counts_bad_rows_and_has_the_first_places(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"".join([b"x\n" * 30, GOOD, b'{"text": 1}\n']))
    found = source(tmp_path)
    pieces = shards_of_files(list_files(found.paths, FileDigests().of), 10**6, found.can_be_cut)[0]
    (tmp_path / "out").mkdir()
    write_shard(tmp_path / "out", found.documents(pieces))
    report = read_report(tmp_path / "out")
    assert report["dropped"] == {"not a JSON object": 30, "text of another type": 1}
    assert report["documents_read"] == report["documents"] + 31 == 32
    assert len(report["bad_rows"]["not a JSON object"]) == 10
    assert report["bad_rows"]["text of another type"] == [
        f"{tmp_path}/a.jsonl, line 32: column 'text' is a number, not a string"
    ]


def test_file_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    found = source(tmp_path)
    (pieces,) = found.shards(list_files(found.paths, FileDigests().of))
    (tmp_path / "a.jsonl").write_bytes(GOOD + GOOD)
    with pytest.raises(ListingError, match=r"a\.jsonl has changed since the release was planned: it had 27 bytes"):
        list(found.documents(pieces))


def test_pointer_of_git_lfs_is_refused(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"
    for name in ("a.jsonl", "a.jsonl.gz"):
        (tmp_path / name).write_bytes(pointer)
        with pytest.raises(LfsPointerError, match="git lfs pull"):
            read(tmp_path)
        (tmp_path / name).unlink()
