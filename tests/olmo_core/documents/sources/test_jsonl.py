import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from olmo_core.documents.document import Document, read_documents
from olmo_core.documents.file_digests import FileDigests
from olmo_core.documents.listing import list_files
from olmo_core.documents.shard import read_report, write_shard
from olmo_core.documents.sources import jsonl
from olmo_core.documents.sources.files import BadRow, BadRowError
from olmo_core.documents.sources.jsonl import JsonlSource

ONE = b'{"text": "one", "id": "1"}\n'


def source(path: Path | str, **options: Any) -> JsonlSource:
    return JsonlSource(reader="jsonl", paths=(str(path),), **options)


def shards(path: Path, **options: Any) -> list[list[Document | BadRow]]:
    """Return the rows of each shard of a file or folder."""
    reader = source(path, **options)
    return [list(reader.documents(pieces)) for pieces in reader.shards(list_files(reader.paths, FileDigests().of))]


def rows(path: Path, *content: bytes, **options: Any) -> list[Document | BadRow]:
    """Return the rows of a file with these lines."""
    path.write_bytes(b"".join(content))
    return [row for shard in shards(path, **{"on_bad_row": "skip"} | options) for row in shard]


def texts(found: Iterable[Document | BadRow]) -> list[str]:
    return [row.text if isinstance(row, Document) else row.reason for row in found]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.jsonl"


line = st.one_of(
    st.text(max_size=12).map(lambda text: json.dumps({"text": text}, ensure_ascii=False).encode()),
    st.integers(50, 200).map(lambda size: b'{"text": "' + b"x" * size + b'"}'),
    st.sampled_from([b"", b" ", b"\t", b"{", b"null", b"\xff", b'{"text": "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8d"}']),
)
lines = st.lists(st.tuples(line, st.sampled_from([b"\n", b"\r\n"])), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines, st.booleans(), st.booleans(), st.integers(1, 400))
@example([(b'{"text": "a"}', b"\n"), (b'{"text": "b"}', b"\n")], False, False, 14)
def test_cut_file_has_every_row_once_and_in_order(
    tmp_path: Path, lines: list[tuple[bytes, bytes]], mark: bool, newline_at_end: bool, shard_bytes: int
) -> None:
    content = b"".join(part for each in lines for part in each)
    if lines and not newline_at_end:
        content = content[: -len(lines[-1][1])]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" * mark + content)
    (whole,) = shards(path, on_bad_row="skip", shard_bytes=10**6)
    cut = [row for shard in shards(path, on_bad_row="skip", shard_bytes=shard_bytes) for row in shard]
    assert [row for row in cut if isinstance(row, Document)] == [row for row in whole if isinstance(row, Document)]
    assert texts(cut) == [each for each in texts(whole) if each != "empty file"] or texts(cut) == texts(whole)
    wanted = [each.strip() for each, _ in lines if each.strip()]
    assert len([row for row in texts(whole) if row != "empty file"]) == len(wanted)
    good = [json.loads(each)["text"] for each in wanted if each.startswith(b'{"')]
    assert [row.text for row in whole if isinstance(row, Document)] == good


def test_row_without_id_is_named_by_its_address_and_first_byte(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.jsonl").write_bytes(b'{"text": "a"}\n\n{"text": "b"}\n')
    ids = [row.id for shard in shards(tmp_path, shard_bytes=9) for row in shard if isinstance(row, Document)]
    assert ids == [f"{tmp_path}/{folder}/part.jsonl:{at}" for folder in "xy" for at in (0, 15)]


def test_compressed_file_is_read_whole_with_the_same_rows(tmp_path: Path, file: Path) -> None:
    content = b"".join(b'{"text": "%d", "id": "%d"}\n' % (number, number) for number in range(1000))
    plain = rows(file, content)
    packed = rows(tmp_path / "b.jsonl.gz", gzip.compress(content[:5000]), gzip.compress(content[5000:]), shard_bytes=9)
    assert texts(packed) == texts(plain) == list(map(str, range(1000)))
    assert len(shards(tmp_path / "b.jsonl.gz", shard_bytes=9)) == 1


def test_byte_order_mark_is_not_part_of_the_first_line(file: Path) -> None:
    assert texts(rows(file, b"\xef\xbb\xbf", ONE, ONE.replace(b'"1"', b'"2"'))) == ["one", "one"]
    assert texts(rows(file, b"\xef\xbb\xbf\n", ONE)) == ["one"]
    assert texts(rows(file, ONE, b"\xef\xbb\xbf", ONE)) == ["one", "not a JSON object"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"text": "a"', "not a JSON object"),
        (b"[1, 2]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"text": "a"} {"text": "b"}', "not a JSON object"),
        (b'{"text": "a\x00b"}', "not a JSON object"),
        (b'\x00{"text": "a"}', "not a JSON object"),
        (b'{"text": "\xff"}', "not a JSON object"),
        ('{"text": "a"}'.encode("utf-16"), "not a JSON object"),
        (b'{"text": "a", "id": ' + b"[" * 100_000, "not a JSON object"),
        (b'{"text": "a", "id": ' + b"9" * 5000 + b"}", "not a JSON object"),
        (b'{"id": "x"}', "no text"),
        (b'{"text": null}', "no text"),
        (b'{"text": 3}', "text of another type"),
        (b'{"text": ["a"]}', "text of another type"),
        (b'{"text": "a", "id": {"a": 1}}', "id of another type"),
        (b'{"text": "a", "id": "1"}', "duplicate id"),
    ],
)
def test_row_that_is_no_document_is_counted_or_refused(file: Path, bad: bytes, reason: str) -> None:
    found = rows(file, ONE, b"\n", bad + b"\n", b'{"text": "two", "id": "2"}')
    assert texts(found) == ["one", reason, "two"]
    row = found[1]
    assert isinstance(row, BadRow) and len(row.detail) < 500
    if reason != "duplicate id":
        assert row.where == f"{file}, line 3"
    with pytest.raises(BadRowError) as error:
        rows(file, ONE, b"\n", bad + b"\n", on_bad_row="fail")
    assert str(error.value) == f"{row.where}: {row.detail}; correct it, or set on_bad_row: skip to leave it out"


def test_message_shows_the_fault_and_the_columns_that_there_are(file: Path) -> None:
    (bad,) = rows(file, b'{"body": "' + b"x" * 500 + b"\n")
    assert isinstance(bad, BadRow)
    assert bad.detail.startswith("it is not a JSON object (") and bad.detail.endswith('): {"body": "' + "x" * 110)
    (bad,) = rows(file, b'{"body": "a", "key": 1}\n')
    assert isinstance(bad, BadRow)
    assert bad.detail == "column 'text' is missing or null; there are ['body', 'key']"


def test_row_of_a_later_piece_is_named_by_its_byte(file: Path) -> None:
    found = rows(file, ONE, b"{\n", shard_bytes=len(ONE))
    assert [row.where for row in found if isinstance(row, BadRow)] == [f"{file}, line at byte {len(ONE)}"]


def test_line_above_the_limit_is_left_out_and_the_next_one_read(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 40)
    fits = b'{"text": "%s"}' % (b"y" * 28)
    assert len(fits) == 40
    long = b'{"text": "%s"}' % (b"x" * 29)
    huge = b'{"text": "%s"}' % (b"x" * 3_000_000)
    for end in (b"\n", b"\r\n"):
        for bad in (long, huge):
            content = [ONE, bad, end, fits, end, b'{"text": "z"}', end, bad]
            for size in (10**9, 25, 50) if bad is long else (10**9, 10**5):
                found = texts(rows(file, *content, shard_bytes=size))
                assert found == ["one", "line too long", "y" * 28, "z", "line too long"]
            packed = rows(tmp_path / "b.jsonl.gz", gzip.compress(b"".join(content)))
            assert texts(packed) == found
    (row,) = rows(file, long)
    assert row == BadRow(f"{file}, line 1", "line too long", "it has more than 40 bytes")


def test_last_of_two_equal_keys_counts_whichever_way_a_line_is_read(file: Path) -> None:
    for extra in (b"", rb', "lone": "\ud800"'):
        found = rows(file, b'{"text": "a", "id": "x", "text": "b", "id": "y"' + extra + b"}")
        assert [(row.id, row.text) for row in found if isinstance(row, Document)] == [("y", "b")]


def test_nested_metadata_is_carried_through(file: Path) -> None:
    columns = {"metadata": ["meta.url", "meta.score"], "group": "meta.site"}
    content = b'{"text": "a", "id": "x", "meta": {"url": "u", "score": 0.5, "site": "s", "more": [1, {"a": []}]}}'
    for extra in (b"", rb', "lone": "\ud800"'):
        (row,) = rows(file, content[:-1] + extra + b"}", columns=columns)
        assert row == Document("x", "a", "s", str(file), {"meta.url": "u", "meta.score": 0.5})


def test_lone_surrogates_and_null_characters_are_kept_until_the_text_is_cleaned(tmp_path: Path, file: Path) -> None:
    columns = {"metadata": ["site"], "group": "book"}
    content = rb'{"text": "a\ud800b\u0000c", "id": "\udfff1", "site": "x\ud800", "book": "y\ud800"}'
    (row,) = rows(file, content, columns=columns)
    assert isinstance(row, Document) and row.text == "a\ud800b\x00c"
    write_shard(tmp_path, [row])
    (written,) = read_documents(tmp_path / "shard.jsonl.gz")
    assert written == Document("\ufffd1", "a\ufffdbc", "y\ufffd", str(file), {"site": "x\ufffd"})
    assert texts(rows(file, rb'{"text": "\ud83d\udc0d"}')) == ["\U0001f40d"], "a pair is one character"


def test_metadata_that_json_cannot_hold_is_a_bad_row(tmp_path: Path, file: Path) -> None:
    lines = [b'{"text": "a", "m": %s}\n' % value for value in (b"1e400", b"NaN", b"-Infinity", b"9" * 30, b"1.5")]
    found = rows(file, *lines, columns={"metadata": ["m"]})
    assert texts(found) == ["metadata out of range"] * 4 + ["a"]
    assert write_shard(tmp_path, found)["documents"] == 1


def test_repeated_id_is_a_bad_row_in_any_file_of_the_shard(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_bytes(b'{"text": "%s", "id": 7}\n{"text": "x", "id": ""}\n' % name.encode())
    (found,) = shards(tmp_path, on_bad_row="skip")
    assert texts(found) == ["a", "x", "duplicate id", "x"]
    assert found[2] == BadRow(f"{tmp_path}/b.jsonl", "duplicate id", "id '7' occurs twice")


def test_truncated_file_is_one_bad_row_after_the_rows_before(tmp_path: Path) -> None:
    lines = [json.dumps({"text": str(number), "id": number, "power": number**9}) for number in range(5000)]
    content = gzip.compress("\n".join(lines).encode())
    found = rows(tmp_path / "a.jsonl.gz", content[: len(content) // 2])
    assert texts(found)[-1] == "damaged file" and texts(found)[:-1] == list(map(str, range(len(found) - 1)))
    assert len(found) > 2000
    row = found[-1]
    assert isinstance(row, BadRow) and row.where == f"{tmp_path}/a.jsonl.gz"
    assert row.detail.startswith("it is truncated or damaged: ")
    with pytest.raises(BadRowError, match=r"a\.jsonl\.gz: it is truncated or damaged: .*set on_bad_row: skip"):
        rows(tmp_path / "a.jsonl.gz", content[:-1], on_bad_row="fail")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "last", "id": "b"}')
    assert texts(shards(tmp_path, on_bad_row="skip")[0])[-2:] == ["damaged file", "last"], "the next file is read"


def test_file_without_rows_is_one_bad_row(tmp_path: Path) -> None:
    contents = {"a.jsonl": b"", "b.jsonl": b"\n\n", "c.jsonl.gz": b"", "d.jsonl.gz": gzip.compress(b""), "e.jsonl": ONE}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (found,) = shards(tmp_path, on_bad_row="skip")
    assert texts(found) == ["empty file"] * 4 + ["one"]
    with pytest.raises(BadRowError, match=r"a\.jsonl: it has no rows; correct it, or set on_bad_row: skip"):
        shards(tmp_path)


def test_report_counts_bad_rows_by_reason_and_keeps_the_first_ten_places(tmp_path: Path, file: Path) -> None:
    content = [b"{\n"] * 12 + [b'{"text": "kept", "id": "k"}\n', b'{"text": 1}\n', b'{"text": ""}\n'] + [b"[]\n"] * 3
    report = write_shard(tmp_path, rows(file, *content), min_characters=2)
    assert report == read_report(tmp_path)
    assert report["dropped"] == {"not a JSON object": 15, "shorter than min_characters": 1, "text of another type": 1}
    assert report["documents"] == 1 and report["documents_read"] == 18 == 1 + sum(report["dropped"].values())
    places = report["bad_rows"]
    assert set(places) == {"not a JSON object", "text of another type"}
    assert [place.partition(": ")[0] for place in places["not a JSON object"]] == [
        f"{file}, line {number}" for number in range(1, 11)
    ]
    assert places["text of another type"] == [f"{file}, line 14: column 'text' is a number, not a string"]
