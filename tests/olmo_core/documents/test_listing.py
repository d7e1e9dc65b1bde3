"""Files are listed sorted, once, with a tag that changes with their content; what cannot be listed is named."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.artifact import files as artifact_files
from olmo_core.documents import file_digests
from olmo_core.documents.file_digests import FileDigests
from olmo_core.documents.listing import File, ListingError, list_files
from olmo_core.documents.pieces import by_address, pieces_of, shards_of_files


def names(*patterns: str) -> list[str]:
    return [file.address.rpartition("/")[2] for file in list_files(patterns, FileDigests().of)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a.jsonl", "c.txt", "deep/d.jsonl", ".hidden.jsonl", "_SUCCESS", "deep/.x/e.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_pattern_and_folder_list_their_files_sorted_and_once(folder: Path) -> None:
    assert names(f"{folder}/*.jsonl") == ["a.jsonl", "b.jsonl"]
    assert names(f"{folder}/**/*.jsonl") == ["a.jsonl", "b.jsonl", "d.jsonl"]
    assert names(str(folder)) == ["a.jsonl", "b.jsonl", "c.txt", "d.jsonl"]
    assert names(f"{folder}/b.jsonl", f"{folder}/*.jsonl", f"file://{folder}/c.txt") == ["a.jsonl", "b.jsonl", "c.txt"]


@pytest.mark.parametrize("name", ["a [1].jsonl", "what?.jsonl", "#1 %20.jsonl", "naïve.jsonl"])
def test_name_that_exists_is_no_pattern(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    (tmp_path / "a 1.jsonl").write_text("x")
    assert names(str(tmp_path / name)) == [name]


def test_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("content")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").symlink_to(tmp_path / "store")
    (found,) = list_files([str(tmp_path / "data" / "*.jsonl")], FileDigests().of)
    assert found.bytes == 7 and found.tag == FileDigests().of(tmp_path / "store")


def test_tag_is_the_digest_of_the_content(folder: Path) -> None:
    (first,) = list_files([f"{folder}/a.jsonl"], FileDigests().of)
    os.utime(folder / "a.jsonl", (1, 1))
    assert list_files([f"{folder}/a.jsonl"], FileDigests().of) == [first]
    (folder / "a.jsonl").write_text("A.JSONL")
    (other,) = list_files([f"{folder}/a.jsonl"], FileDigests().of)
    assert other.bytes == first.bytes and other.tag != first.tag


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("/nowhere/*.jsonl", "no such file; give an address"),
        ("/nowhere/a.jsonl", "no such file; give an address"),
        ("ftp://host/a.jsonl", "ftp:// is not read from; there are file, gs"),
        ("memory://nothing/*.jsonl", "no such file"),
    ],
)
def test_what_cannot_be_listed_is_named_in_one_line(address: str, why: str) -> None:
    with pytest.raises(ListingError, match=why) as error:
        list_files([address], FileDigests().of)
    assert address in str(error.value) and "\n" not in str(error.value)


def test_file_in_a_store_has_the_tag_of_the_store() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/listing/b.jsonl", b"one")
    store.pipe("/listing/a.jsonl", b"three")
    found = list_files(["memory://listing/*.jsonl"], FileDigests().of)
    assert [(file.address, file.bytes) for file in found] == [
        ("memory:///listing/a.jsonl", 5),
        ("memory:///listing/b.jsonl", 3),
    ]
    store.pipe("/listing/a.jsonl", b"other")
    assert list_files(["memory:///listing/a.jsonl"], FileDigests().of)[0].tag != found[0].tag
    store.rm("/listing", recursive=True)


class Web(BaseHTTPRequestHandler):
    headers_sent: ClassVar[dict[str, str]] = {}

    def do_HEAD(self) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": "12", **self.headers_sent}.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"x" * 12)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Web, "headers_sent", {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/a.jsonl"
    server.shutdown()
    server.server_close()


def test_page_of_the_web_has_its_etag(web: str) -> None:
    Web.headers_sent = {"ETag": '"v1"', "Accept-Ranges": "bytes"}
    assert list_files([web], FileDigests().of) == [File(web, 12, "ETag:v1")]


def test_page_without_a_tag_is_refused(web: str) -> None:
    with pytest.raises(ListingError, match="gives neither an ETag nor a time of change"):
        list_files([web], FileDigests().of)


def test_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    sha256_file = artifact_files.sha256_file
    monkeypatch.setattr(file_digests, "sha256_file", lambda path: read.append(path) or sha256_file(path))  # type: ignore[func-returns-value]
    path, cache = tmp_path / "a.jsonl", tmp_path / "home" / "digests.json"
    path.write_text("one")
    os.utime(path, (1, 1))
    for _ in range(2):
        digests = FileDigests(cache)
        tag = digests.of(path)
        digests.save()
    assert len(read) == 1
    path.write_text("two")
    os.utime(path, (2, 2))
    assert FileDigests(cache).of(path) != tag and len(read) == 2
    assert [each.name for each in cache.parent.iterdir()] == ["digests.json"]


def test_file_that_may_still_change_is_not_remembered(tmp_path: Path) -> None:
    path, cache = tmp_path / "a.jsonl", tmp_path / "digests.json"
    path.write_text("one")
    digests = FileDigests(cache)
    digests.of(path)
    digests.save()
    assert not cache.exists()


def test_damaged_cache_is_as_good_as_none(tmp_path: Path) -> None:
    path, cache = tmp_path / "a.jsonl", tmp_path / "digests.json"
    path.write_text("one")
    cache.write_text("{")
    assert FileDigests(cache).of(path) == FileDigests().of(path)


files = st.lists(st.integers(0, 40), max_size=12).map(
    lambda sizes: [File(f"/{n:02d}" + (".gz" if size % 3 == 0 else ""), size, "t") for n, size in enumerate(sizes)]
)


@given(files, st.integers(1, 50))
def test_every_byte_is_in_one_piece_of_one_shard(files: list[File], most: int) -> None:
    shards = shards_of_files(files, most, lambda name: not name.endswith(".gz"))
    pieces = [piece for shard in shards for piece in shard]
    for file in files:
        own = [(piece.start, piece.end) for piece in pieces if piece.address == file.address]
        assert own[0][0] == 0 and own[-1][1] == file.bytes
        assert [end for _, end in own[:-1]] == [start for start, _ in own[1:]]
        assert len(own) == 1 or not file.address.endswith(".gz")
    assert [piece.address for piece in pieces] == sorted(piece.address for piece in pieces)
    for shard in shards:
        assert len(shard) == 1 or sum(piece.end - piece.start for piece in shard) <= most
        assert len({piece.address for piece in shard}) == len(shard)
        assert pieces_of(by_address(shard)) == list(shard)
