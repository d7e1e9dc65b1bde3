import hashlib
import os
from pathlib import Path

import pytest

from olmo_core.documents import file_digests
from olmo_core.documents.file_digests import FileDigests

SECOND = 10**9


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are read, as they are read."""
    names: list[str] = []
    original = file_digests.sha256_file

    def counted(path: Path) -> str:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(file_digests, "sha256_file", counted)
    return names


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an hour pass: what was written before may be cached."""
    now = file_digests.time.time_ns()
    monkeypatch.setattr(file_digests.time, "time_ns", lambda: now + 3600 * SECOND)


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.usefixtures("later")
def test_unchanged_file_is_read_once(tmp_path: Path, read: list[str]) -> None:
    file, cache = tmp_path / "a", tmp_path / "home" / "digests.json"
    file.write_bytes(b"one")
    for _ in range(2):
        digests = FileDigests(cache)
        assert digests.of(file) == digests.of(file) == sha256(b"one")
        digests.save()
    assert read == ["a"]


@pytest.mark.usefixtures("later")
def test_changed_file_is_read_again(tmp_path: Path, read: list[str]) -> None:
    file, digests = tmp_path / "a", FileDigests()
    file.write_bytes(b"one")
    digests.of(file)
    os.utime(file, ns=(0, 0))
    digests.of(file)
    file.write_bytes(b"four")
    assert digests.of(file) == sha256(b"four")
    assert read == ["a"] * 3


@pytest.mark.usefixtures("later")
def test_change_that_keeps_size_and_time_is_read_again(tmp_path: Path) -> None:
    file, digests = tmp_path / "a", FileDigests()
    file.write_bytes(b"one")
    os.utime(file, ns=(SECOND, SECOND))
    digests.of(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(SECOND, SECOND))
    assert digests.of(file) == sha256(b"two")


@pytest.mark.usefixtures("later")
def test_replaced_file_is_read_again(tmp_path: Path) -> None:
    file, other, digests = tmp_path / "a", tmp_path / "b", FileDigests()
    file.write_bytes(b"one")
    other.write_bytes(b"two")
    digests.of(file)
    other.replace(file)
    assert digests.of(file) == sha256(b"two")


@pytest.mark.parametrize(("age", "times"), [(1.9, 2), (2.1, 1)])
def test_file_changed_within_two_seconds_is_not_cached(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, age: float, times: int
) -> None:
    file, digests = tmp_path / "a", FileDigests()
    file.write_bytes(b"one")
    changed = file.stat().st_ctime_ns
    monkeypatch.setattr(file_digests.time, "time_ns", lambda: changed + int(age * SECOND))
    digests.of(file)
    digests.of(file)
    assert len(read) == times


def test_time_spent_reading_does_not_count_as_age(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, digests = tmp_path / "a", FileDigests()
    file.write_bytes(b"one")
    changed = file.stat().st_ctime_ns
    monkeypatch.setattr(file_digests.time, "time_ns", lambda: changed + 10 * SECOND * len(read))
    digests.of(file)
    assert read == ["a"]
    monkeypatch.setattr(file_digests.time, "time_ns", lambda: changed)
    digests.of(file)
    assert read == ["a", "a"]


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("damage", [b"", b"{", b'{"a": 1}', b"\xff\xfe", b'{"\xff": [1, 2, 3, ""]}', b"[]"])
def test_damaged_cache_is_replaced(tmp_path: Path, read: list[str], damage: bytes) -> None:
    file, cache = tmp_path / "a", tmp_path / "digests.json"
    file.write_bytes(b"one")
    cache.write_bytes(damage)
    digests = FileDigests(cache)
    assert digests.of(file) == sha256(b"one")
    digests.save()
    assert FileDigests(cache).of(file) == sha256(b"one")
    assert read == ["a"]


@pytest.mark.usefixtures("later")
def test_interrupted_save_leaves_the_old_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "digests.json"
    digests = FileDigests(cache)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"one")
        digests.of(tmp_path / name)
        if name == "a":
            digests.save()
    before = cache.read_bytes()

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        digests.save()
    assert cache.read_bytes() == before


def test_nothing_new_is_not_saved(tmp_path: Path) -> None:
    FileDigests(tmp_path / "home" / "digests.json").save()
    FileDigests().save()
    assert list(tmp_path.iterdir()) == []
