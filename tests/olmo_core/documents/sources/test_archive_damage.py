"""Damaged archives and members that are no files: one ArchiveError, whatever the library underneath raises."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from archives import write_tar, write_zip
from hypothesis import example, given, settings
from hypothesis import strategies as st

from olmo_core.documents.sources.archive import ArchiveError, read_members

NAME, CONTENT = "p/\u00fcber.txt", b"Some text of a document. " * 20


def packed(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "whl":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(NAME), CONTENT, zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(fileobj=file, mode=f"w:{kind.removeprefix('tar.')}") as tar:
            info = tarfile.TarInfo(NAME)
            info.size = len(CONTENT)
            tar.addfile(info, io.BytesIO(CONTENT))
    return file.getvalue()


WHOLE = {kind: packed(kind) for kind in ("whl", "tar.gz", "tar.bz2")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("kind", sorted(WHOLE))
def test_whole_archive_is_read(folder: Path, kind: str) -> None:
    path = folder / f"whole.{kind}"
    path.write_bytes(WHOLE[kind])
    assert list(read_members(path, ["p/*.txt"])) == [(NAME, CONTENT)]


@example(5, 0)  # the version that is needed to read the file
@example(28, 0)  # the name in UTF-8
@example(42, 0)  # the deflated content
@example(79, 2)  # the method of compression
@example(146, 1)  # the offset of the directory
@settings(max_examples=50)
@given(st.integers(0, len(WHOLE["whl"]) - 1), st.integers(0, 7))
def test_any_flipped_bit_of_a_wheel_is_harmless_or_reported(folder: Path, at: int, bit: int) -> None:
    data = bytearray(WHOLE["whl"])
    data[at] ^= 1 << bit
    path = folder / "flipped.whl"
    path.write_bytes(data)
    try:
        assert list(read_members(path, [NAME])) == [(NAME, CONTENT)]
    except ArchiveError as error:
        assert "flipped.whl" in str(error)


@pytest.mark.parametrize("kind", sorted(WHOLE))
def test_archive_cut_at_any_byte_is_whole_or_reported(folder: Path, kind: str) -> None:
    path, reported = folder / f"cut.{kind}", 0
    lengths = [*range(16), *range(16, len(WHOLE[kind]), 5)]  # the headers of the compressions byte by byte
    for length in lengths:
        path.write_bytes(WHOLE[kind][:length])
        try:
            assert list(read_members(path, [NAME])) == [(NAME, CONTENT)]
        except ArchiveError:
            reported += 1
    assert reported > len(lengths) / 2


def test_file_that_does_not_exist_is_not_called_damaged(tmp_path: Path) -> None:
    for name in ("gone.whl", "gone.tar.gz"):
        with pytest.raises(FileNotFoundError, match=name):
            list(read_members(tmp_path / name, ["*"]))


def test_link_in_a_zip_is_refused_where_a_pattern_matches_it(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.whl", {"p/a.txt": b"A"})
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("p/link.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/hostname")
    assert list(read_members(path, ["p/a.txt"])) == [("p/a.txt", b"A")]
    with pytest.raises(ArchiveError, match=r"x\.whl: p/link\.txt is a link"):
        list(read_members(path, ["p/*.txt"]))


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_hard_link_pipe_and_device_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("p/odd.txt")
        info.type, info.linkname = kind, "p/a.txt"
        archive.addfile(info)
    with pytest.raises(ArchiveError, match=r"p/odd\.txt is a link or device"):
        list(read_members(path, ["p/*"]))


@pytest.mark.parametrize("name", ["x.tar.gz", "x.whl"])
def test_folder_is_no_file_that_a_pattern_can_match(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("gz"):
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("p/docs")
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("p/docs/", b"")
    with pytest.raises(ArchiveError, match=r"no file that matches \['p/docs\*'\]"):
        list(read_members(path, ["p/docs*"]))


def test_tar_in_bzip2_is_read_under_its_usual_name(tmp_path: Path) -> None:
    path = tmp_path / "p-1.tar.bz2"
    path.write_bytes(WHOLE["tar.bz2"])
    assert list(read_members(path, ["*.txt"])) == [(NAME, CONTENT)]
    path.rename(tmp_path / "p-1.tbz")
    with pytest.raises(ArchiveError, match=r"p-1\.tbz is not a supported archive; give .*\.tar\.bz2"):
        list(read_members(tmp_path / "p-1.tbz", ["*.txt"]))


def test_tgz_is_another_name_of_tar_gz(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "p-1.tgz", {"p/a.txt": b"A"})
    assert list(read_members(path, ["p/?.txt"])) == [("p/a.txt", b"A")]


def test_members_after_the_last_wanted_one_are_checked_too(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar.gz", {"p/a.txt": b"A", "../up.txt": b"x"})
    members = read_members(path, ["p/a.txt"])
    assert next(members) == ("p/a.txt", b"A")
    with pytest.raises(ArchiveError, match=r"unsafe name '\.\./up\.txt'"):
        next(members)
