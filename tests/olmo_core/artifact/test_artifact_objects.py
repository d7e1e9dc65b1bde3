import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from olmo_core.artifact.objects import LocalObjects, RootError, open_objects


def test_objects_are_created_once_and_replaced_atomically(root: str) -> None:
    objects = open_objects(root)
    assert objects.read("a/b.json") is None
    objects.create("a/b.json", b"one")
    with pytest.raises(FileExistsError):
        objects.create("a/b.json", b"two")
    assert objects.read("a/b.json") == b"one"
    objects.write("a/b.json", b"three")
    objects.write("a/c/d.json", b"")
    assert objects.read("a/b.json") == b"three"
    assert objects.names("a") == ["b.json", "c"]
    assert objects.sizes("a") == {"b.json": 5, "c/d.json": 0}
    objects.delete("a/c")
    objects.delete("a/nothing")
    assert objects.names("a") == ["b.json"]
    objects.delete("a/b.json")
    assert objects.names("a") == []
    assert objects.names("nothing") == []
    assert objects.sizes("nothing") == {}


def test_concurrent_create_succeeds_once(root: str) -> None:
    objects = open_objects(root)
    barrier = Barrier(8)

    def create(number: int) -> bool:
        barrier.wait()
        try:
            objects.create("lease/000001.json", str(number).encode())
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, success in enumerate(pool.map(create, range(8))) if success]
    assert len(won) == 1
    assert objects.read("lease/000001.json") == str(won[0]).encode()


@pytest.mark.parametrize("error", [PermissionError(errno.EPERM, "no links"), OSError(errno.EOPNOTSUPP, "no links")])
def test_object_is_created_once_without_hard_links(
    error: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "link", link)
    test_objects_are_created_once_and_replaced_atomically(str(tmp_path / "one"))
    test_concurrent_create_succeeds_once(str(tmp_path / "two"))
    assert [path.name for path in (tmp_path / "two" / "lease").iterdir()] == ["000001.json"]


def test_failed_create_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        open_objects(tmp_path).create("a.json", b"one")
    assert list(tmp_path.iterdir()) == []


def test_read_is_one_s3_request(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import S3FileSystem

    objects, asked, call = open_objects(s3_root), [], S3FileSystem._call_s3

    def counting(self: S3FileSystem, method: str, *arguments: Any, **options: Any) -> Any:
        asked.append(method)
        return call(self, method, *arguments, **options)

    objects.write("a/b.json", b"one")
    monkeypatch.setattr(S3FileSystem, "_call_s3", counting)
    assert objects.read("a/b.json") == b"one"
    assert objects.read("a/nothing.json") is None
    assert asked == ["get_object"] * 2


def test_writes_leave_no_temporary_files(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    objects.create("a/one", b"1")
    with pytest.raises(FileExistsError):
        objects.create("a/one", b"2")
    objects.write("a/two", b"2")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["one", "two"]


@pytest.mark.parametrize(
    "root",
    [
        "",
        "http://169.254.169.254/latest",
        "https://example.org/x",
        "simplecache::s3://bucket/x",
        "filecache::file:///tmp/x",
        "github://org:repo@main/x",
        "hf://org/repo",
        "ftp://host/x",
        "zip://x::file:///tmp/a.zip",
        "s3://",
        "file://",
        "memory://",
        "s3://key:secret@bucket/x",
        "s3://bucket/../other",
        "s3://bucket/x?versionId=1",
        "file://host/share",
        "gs://bucket/x",
        "reference://x",
    ],
)
def test_unsupported_root_is_refused(root: str) -> None:
    with pytest.raises(RootError):
        open_objects(root)


def test_local_roots_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for root in ("store", "./store", "x/../store", f"file://{tmp_path}/store", tmp_path / "store"):
        objects = open_objects(root)
        assert isinstance(objects, LocalObjects)
        assert objects.folder == tmp_path / "store"
