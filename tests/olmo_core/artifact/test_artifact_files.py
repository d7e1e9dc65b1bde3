import errno
import hashlib
import os
from pathlib import Path

import pytest

from olmo_core.artifact.files import UnsafePathError, list_files, safe_path, sha256_files, sync, sync_tree


@pytest.mark.parametrize(
    "path", ["", ".", "/etc/passwd", "..", "a/../b", "../a", "a//b", "a/", "./a", "a\\b", "a\0b", "a/./b"]
)
def test_unsafe_or_ambiguous_path_is_refused(path: str) -> None:
    with pytest.raises(UnsafePathError):
        safe_path(path)


@pytest.mark.parametrize("path", ["a", "a/b.json", ".gitattributes", "a..b", "deep/er/x y"])
def test_plain_path_is_accepted(path: str) -> None:
    assert safe_path(path) == path


def test_files_are_listed_sorted_with_subfolders(tmp_path: Path) -> None:
    for name in ("b/z", "b/a", "a-first", ".hidden", "b-last"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "empty").mkdir()
    assert list(list_files(tmp_path)) == [".hidden", "a-first", "b-last", "b/a", "b/z"]
    sync_tree(tmp_path)


def test_links_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "link").symlink_to("/etc/hostname")
    with pytest.raises(UnsafePathError, match="link"):
        list_files(tmp_path / "one")
    (tmp_path / "two").mkdir()
    os.mkfifo(tmp_path / "two" / "pipe")
    with pytest.raises(UnsafePathError, match="pipe"):
        list_files(tmp_path / "two")


@pytest.mark.parametrize("size", [0, 10, 3 * 2**20])
def test_digests_keep_file_order(tmp_path: Path, size: int) -> None:
    contents = [bytes([number]) * size for number in range(5)]
    paths = []
    for number, content in enumerate(contents):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(content)
    assert list(sha256_files(paths)) == [hashlib.sha256(content).hexdigest() for content in contents]


def test_folder_that_cannot_be_synced_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_files_only(handle: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", of_files_only)
    sync(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Invalid"):
        sync(tmp_path / "file")
