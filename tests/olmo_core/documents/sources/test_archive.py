from pathlib import Path

import pytest
from archives import write_tar, write_zip

from olmo_core.documents.sources.archive import ArchiveError, read_members

MEMBERS = {"p-1/docs/b.txt": b"B", "p-1/docs/a.txt": b"A", "p-1/docs/deep/c.txt": b"C", "p-1/setup.py": b"raise"}


@pytest.mark.parametrize("name", ["p-1.tar.gz", "p-1.whl", "p-1.zip"])
def test_members_keep_archive_order(tmp_path: Path, name: str) -> None:
    path = (write_tar if name.endswith("gz") else write_zip)(tmp_path / name, MEMBERS)
    assert list(read_members(path, ["*/docs/*.txt"])) == list(MEMBERS.items())[:3]
    assert list(read_members(path, ["*/setup.py", "*/a.txt"])) == [("p-1/docs/a.txt", b"A"), ("p-1/setup.py", b"raise")]


@pytest.mark.parametrize("unsafe", ["/etc/passwd", "../up.txt", "p/../../up.txt", "C:evil.txt", "p\\..\\..\\up.txt"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_unsafe_name_anywhere_is_refused(tmp_path: Path, unsafe: str, kind: str) -> None:
    members = {unsafe: b"x", "p/fine.txt": b"fine"}
    path = write_tar(tmp_path / "x.tar.gz", members) if kind == "tar" else write_zip(tmp_path / "x.whl", members)
    with pytest.raises(ArchiveError, match="unsafe name"):
        list(read_members(path, ["p/fine.txt"]))


def test_link_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar.gz", {"p/a.txt": b"A"}, {"p/link.txt": "/etc/hostname"})
    assert list(read_members(path, ["p/a.txt"])) == [("p/a.txt", b"A")]
    with pytest.raises(ArchiveError, match=r"p/link\.txt is a link"):
        list(read_members(path, ["p/*.txt"]))


def test_every_pattern_must_match(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar.gz", MEMBERS)
    with pytest.raises(ArchiveError, match=r"no file that matches \['\*\.rst'\]"):
        list(read_members(path, ["*.txt", "*.rst"]))


@pytest.mark.parametrize("name", ["x.tar.gz", "x.whl"])
def test_damaged_archive_is_reported(tmp_path: Path, name: str) -> None:
    path = (write_tar if name.endswith("gz") else write_zip)(tmp_path / name, {"p/a.txt": bytes(range(256)) * 400})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArchiveError, match="damaged"):
        list(read_members(path, ["p/a.txt"]))


def test_unsupported_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.rpm").write_bytes(b"")
    with pytest.raises(ArchiveError, match="not a supported archive"):
        list(read_members(tmp_path / "x.rpm", ["*"]))
