import bz2
import gzip
import lzma
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileOpener
from remote_files import Web

from olmo_core.artifact.files import LfsPointerError
from olmo_core.documents import byte_stream
from olmo_core.documents.byte_stream import COMPRESSED, DamagedFileError, opened
from olmo_core.documents.file_digests import FileDigests
from olmo_core.documents.listing import ListingError, list_files
from olmo_core.documents.pieces import Piece

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


TEXT = b"".join(b"line %d, " % number + bytes(str(number**7), "ascii") + b"\n" for number in range(20_000))
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstd.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def whole(address: str | Path) -> Piece:
    (file,) = list_files([str(address)], FileDigests().of)
    return Piece(file.address, file.bytes, file.tag, 0, file.bytes)


def written(path: Path, content: bytes) -> Piece:
    path.write_bytes(content)
    return whole(path)


def read(piece: Piece, start: int = 0) -> bytes:
    with opened(piece, start) as file:
        return file.read()


def read_up_to_damage(piece: Piece) -> tuple[list[bytes], str]:
    lines: list[bytes] = []
    with pytest.raises(DamagedFileError) as error, opened(piece) as file:
        lines.extend(iter(file.readline, b""))
    return lines, str(error.value)


def test_every_compression_is_tested() -> None:
    assert set(COMPRESSED) == set(COMPRESS)


def test_plain_file_is_read_from_any_byte(tmp_path: Path) -> None:
    piece = written(tmp_path / "a.jsonl", TEXT)
    for start in (0, 1, 255, 256, 300_000, len(TEXT)):
        assert read(piece, start) == TEXT[start:]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_all_members_of_a_compressed_file_are_read(tmp_path: Path, suffix: str) -> None:
    parts = [TEXT[:7], b"", TEXT[7:100_000], TEXT[100_000:]]
    content = b"".join(map(COMPRESS[suffix], parts))
    assert read(written(tmp_path / f"a.jsonl{suffix}", content)) == TEXT
    assert read(written(tmp_path / f"empty{suffix}", COMPRESS[suffix](b""))) == b""


@pytest.mark.parametrize("suffix", COMPRESS)
def test_truncated_file_is_damaged_after_the_lines_before(tmp_path: Path, suffix: str) -> None:
    content = COMPRESS[suffix](TEXT)
    for size in (1, 5, 20, len(content) // 2, len(content) - 1):
        lines, message = read_up_to_damage(written(tmp_path / f"a{suffix}", content[:size]))
        assert message.startswith("it is truncated or damaged: ")
        assert TEXT.startswith(b"".join(lines)) and all(line.endswith(b"\n") for line in lines)
    first = COMPRESS[suffix](TEXT[:100_000])
    lines, _ = read_up_to_damage(written(tmp_path / f"b{suffix}", first + content[:50]))
    assert len(b"".join(lines)) > 99_900, "the lines of a whole member come before the damage of the next one"


@pytest.mark.parametrize("suffix", COMPRESS)
def test_random_bytes_are_damaged(tmp_path: Path, suffix: str) -> None:
    _, message = read_up_to_damage(written(tmp_path / f"a{suffix}", random.Random(1).randbytes(5000)))
    assert message.startswith("it is truncated or damaged: ")
    read_up_to_damage(written(tmp_path / f"text{suffix}", b'{"text": "not compressed"}\n'))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_flipped_bit_is_damage_or_changes_nothing(tmp_path: Path, suffix: str) -> None:
    rng = random.Random(2)
    content = COMPRESS[suffix](TEXT[:5000])
    for number in range(100):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        try:
            data = read(written(tmp_path / f"{number}{suffix}", bytes(flipped)))
        except DamagedFileError:
            continue
        # Without a checksum, which zstd.compress does not write, a flip may go unnoticed.
        assert data == TEXT[:5000] or suffix == ".zst"


@pytest.mark.parametrize("suffix", COMPRESS)
def test_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    piece = written(tmp_path / f"a{suffix}", COMPRESS[suffix](bytes(10_000_000)))
    assert len(read(piece)) == 10_000_000, "a small file may have any ratio"
    monkeypatch.setattr(byte_stream, "_HARMLESS_BYTES", 1_000_000)
    monkeypatch.setattr(byte_stream, "MAX_RATIO", 100)
    got = 0
    with (
        pytest.raises(DamagedFileError, match="it decompresses to more than 100 times its size"),
        opened(piece) as file,
    ):
        while part := file.read(1000):
            got += len(part)
    assert got <= max(1_000_000, 100 * piece.bytes)


def test_few_compressed_bytes_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Measured:
        def __init__(self) -> None:
            self._frame = zstd.ZstdDecompressor()
            self.eof = False

        def decompress(self, data: bytes) -> bytes:
            found = self._frame.decompress(data)
            sizes.append(len(found))
            return found

    monkeypatch.setitem(byte_stream._DECOMPRESSORS, ".zst", Measured)
    piece = written(tmp_path / "a.zst", zstd.compress(bytes(500_000_000)))
    with pytest.raises(DamagedFileError, match="more than 1000 times"):
        read(piece)
    assert max(sizes) < 200_000_000


@pytest.mark.parametrize("suffix", COMPRESS)
def test_zeros_after_the_end_are_padding_and_other_bytes_damage(tmp_path: Path, suffix: str) -> None:
    content = COMPRESS[suffix](TEXT)
    assert read(written(tmp_path / f"a{suffix}", content + bytes(5000))) == TEXT
    lines, _ = read_up_to_damage(written(tmp_path / f"b{suffix}", content + b"garbage, not a frame"))
    assert b"".join(lines) == TEXT


@pytest.mark.parametrize("suffix", ["", *COMPRESS])
def test_git_lfs_pointer_is_refused_with_the_remedy(tmp_path: Path, suffix: str) -> None:
    piece = written(tmp_path / f"a.jsonl{suffix}", POINTER)
    with pytest.raises(LfsPointerError, match=rf"a\.jsonl{suffix} is a Git LFS pointer.*git lfs pull"):
        read(piece)


@pytest.mark.parametrize("content", [b"four", b"two"])
def test_local_file_changed_since_the_listing_is_refused(tmp_path: Path, content: bytes) -> None:
    piece = written(tmp_path / "a.jsonl", b"one")
    assert read(piece) == b"one"
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(
        ListingError, match=r"a\.jsonl has changed since the release was planned: it had 3 bytes, sha256:"
    ):
        read(piece)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(ListingError, match=r"a\.jsonl was there when the release was planned, and is not now"):
        read(piece)


def test_piece_of_a_local_file_is_refused_if_its_size_changed(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", b"one\ntwo\n")
    piece = Piece(file.address, file.bytes, file.tag, 4, 8)
    assert read(piece, 4) == b"two\n"
    (tmp_path / "a.jsonl").write_bytes(b"one\ntwo\nsix\n")
    with pytest.raises(ListingError, match="has changed"):
        read(piece, 4)


def test_remote_file_changed_since_the_listing_is_refused(bucket: str, memory: str, web: Web) -> None:
    elsewhere = fsspec.filesystem("s3", skip_instance_cache=True)  # another machine
    memory_store = fsspec.filesystem("memory")

    def put_web(content: bytes) -> None:
        web.files["/a.jsonl"] = content

    path = f"{bucket}/changed/a.jsonl".removeprefix("s3://")
    changes: dict[str, Callable[[bytes], object]] = {
        f"{bucket}/changed/a.jsonl": lambda content: elsewhere.pipe_file(path, content),
        f"{memory}/a.jsonl": lambda content: memory_store.pipe_file(f"{memory}/a.jsonl", content),
        f"{web.url}/a.jsonl": put_web,
    }
    for address, change in changes.items():
        change(b"one")
        piece = whole(address)
        assert read(piece) == b"one" and read(piece, 1) == b"ne"
        change(b"two")
        with pytest.raises(ListingError, match=r"a\.jsonl has changed since the release was planned: it had 3 bytes"):
            read(piece)
    del web.files["/a.jsonl"]
    with pytest.raises(ListingError, match="is not now"):
        read(piece)


def test_compressed_file_is_read_from_a_bucket_and_a_server(bucket: str, web: Web) -> None:
    for suffix, compress in COMPRESS.items():
        web.files[f"/a{suffix}"] = compress(TEXT)
        with fsspec.open(f"{bucket}/a{suffix}", "wb") as file:
            file.write(compress(TEXT))
        assert read(whole(f"{bucket}/a{suffix}")) == read(whole(f"{web.url}/a{suffix}")) == TEXT


def test_server_without_ranges_sends_whole_files_only(web: Web) -> None:
    large = TEXT * 8  # more than fsspec asks for at once
    web.files |= {"/a.jsonl": large, "/a.jsonl.gz": gzip.compress(large)}
    web.ranges = False
    assert read(whole(f"{web.url}/a.jsonl")) == read(whole(f"{web.url}/a.jsonl.gz")) == large
    with pytest.raises(
        ListingError, match=r"a\.jsonl: its server does not send parts of a file; give a larger shard_b"
    ):
        read(whole(f"{web.url}/a.jsonl"), 300)


def test_error_of_the_disk_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    piece = written(tmp_path / "a.gz", gzip.compress(os.urandom(5_000_000)))

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(LocalFileOpener, "readinto", fail, raising=False)
    monkeypatch.setattr(LocalFileOpener, "read", fail)
    with pytest.raises(OSError, match="Input/output error"):
        read(piece)
