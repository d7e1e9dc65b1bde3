"""Ranges of files on disk, on S3 and behind HTTP."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from stores import STORED, Ranged

from olmo_core.tokens import ranges
from olmo_core.tokens.ranges import RangeError, Ranges


def test_local_and_remote_ranges_keep_order(tmp_path: Path, web: str, bucket: str) -> None:
    (tmp_path / "x.npy").write_bytes(STORED[::-1])
    places = [f"{web}/a/x.npy", str(tmp_path / "x.npy"), f"{bucket}/x.npy", f"{web}/a/x.npy", str(tmp_path / "x.npy")]
    starts = [0, 0, 190, 77, 190]
    read = Ranges().read(places, starts, 10)
    expected = [STORED[0:10], STORED[::-1][0:10], STORED[190:200], STORED[77:87], STORED[::-1][190:200]]
    assert [row.tobytes() for row in read] == expected


def test_more_files_than_descriptors_are_read(tmp_path: Path) -> None:
    places = []
    for number in range(6):
        (tmp_path / str(number)).write_bytes(bytes([number] * 4))
        places.append(str(tmp_path / str(number)))
    reader = Ranges()
    reader._keep = 2
    for _ in range(2):
        assert reader.read(places, [1] * 6, 2).tolist() == [[number] * 2 for number in range(6)]
    assert len(reader._opened) == 2


def test_files_beyond_descriptor_limit_mix_with_remote(tmp_path: Path, web: str) -> None:
    (tmp_path / "x.npy").write_bytes(STORED[::-1])
    reader = Ranges()
    for keep in (0, 1):
        reader._keep = keep
        read = reader.read([f"{web}/a/x.npy", str(tmp_path / "x.npy")], [5, 6], 3)
        assert [row.tobytes() for row in read] == [STORED[5:8], STORED[::-1][6:9]]


def test_threads_have_separate_memory(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(STORED)
    reader = Ranges()
    mine = reader.read([str(tmp_path / "x.npy")], [0], 10)
    with ThreadPoolExecutor(1) as thread:
        theirs = thread.submit(reader.read, [str(tmp_path / "x.npy")], [100], 10).result()
    assert [mine.tobytes(), theirs.tobytes()] == [STORED[:10], STORED[100:110]]


def test_permanent_error_names_file_and_range_without_retry(
    tmp_path: Path, web: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "PAUSE_SECONDS", "none is due")
    (tmp_path / "x.npy").write_bytes(STORED)
    for place, start, why in (
        (str(tmp_path / "x.npy"), 195, r"bytes 195 to 204 cannot be read: it ends at byte 200; it is truncated"),
        (str(tmp_path / "y.npy"), 0, r"y\.npy: bytes 0 to 9 cannot be read: No such file"),
        (f"{web}/a/x.npy", 195, r"x\.npy: bytes 195 to 204 cannot be read: 5 bytes came"),
        (f"{web}/plain/x.npy", 20, "200 bytes came; it is truncated, or its server does not support ranges"),
        (f"{web}/a/y.npy", 30, r"y\.npy: bytes 30 to 39 cannot be read: FileNotFoundError"),
        (f"{web}/closed/x.npy", 30, "bytes 30 to 39 cannot be read: ClientResponseError: 403"),
        (f"{bucket}/y.npy", 30, r"s3://tokens-\w+/y\.npy: bytes 30 to 39 cannot be read: FileNotFoundError"),
    ):
        with pytest.raises(RangeError, match=why):
            Ranges().read([place], [start], 10)


def test_busy_range_server_is_retried(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(ranges.time, "sleep", pauses.append)
    places = [f"{web}/busy/x.npy", f"{web}/a/x.npy"]
    assert np.array_equal(Ranges().read(places, [3, 4], 2), [[3, 4], [4, 5]])
    assert pauses == [0.25, 0.5]
    assert Ranged.busy == 3
