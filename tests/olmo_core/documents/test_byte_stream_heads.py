"""The head of a compressed file yields what its bytes hold, and ends without an error."""

import bz2
import gzip
import lzma
import random
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from olmo_core.documents.byte_stream import DamagedFileError, opened
from olmo_core.documents.listing import time_of_change
from olmo_core.documents.pieces import Piece

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


WORDS = random.Random(1).choices(["one", "two", "three", "four", "five", "six", "seven", "eight"], k=300_000)
DATA = " ".join(WORDS).encode()
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, 3),
    ".bz2": lambda data: bz2.compress(data, 1),  # in blocks of 100 kB; a head loses the last
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": zstd.compress,
}
PACKED = {suffix: pack(DATA) for suffix, pack in PACK.items()}


@pytest.mark.parametrize("suffix", PACK)
def test_half_of_a_compressed_file_is_half_of_its_rows(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(PACKED[suffix])
    size = path.stat().st_size
    with opened(Piece(str(path), size, time_of_change(path), 0, size // 2)) as file:
        head = file.read()
    assert DATA.startswith(head)
    assert 0.4 < len(head) / len(DATA) < 0.6
    with opened(Piece(str(path), size, time_of_change(path), 0, size)) as file:
        assert file.read() == DATA


def test_a_head_loses_no_more_than_the_last_kilobytes(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    packed = gzip.compress(random.Random(1).randbytes(1_500_000).hex(chr(10), 32).encode(), 1)
    path.write_bytes(packed)
    size = len(packed)
    whole = zlib.decompressobj(31).decompress(packed[: size * 2 // 3])
    with opened(Piece(str(path), size, time_of_change(path), 0, size * 2 // 3)) as file:
        assert 0 <= len(whole) - sum(map(len, file)) < 10_000


def test_a_damaged_head_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(b"no gzip at all" * 100)
    with (
        pytest.raises(DamagedFileError, match="it is truncated or damaged"),
        opened(Piece(str(path), 1400, time_of_change(path), 0, 700)) as file,
    ):
        file.read()


def test_a_truncated_file_that_is_read_whole_is_still_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(PACKED[".gz"][:-1000])
    size = path.stat().st_size
    with pytest.raises(DamagedFileError), opened(Piece(str(path), size, time_of_change(path), 0, size)) as file:
        file.read()
