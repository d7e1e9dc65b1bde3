import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._filelock import FileLock

from olmo_core.train.compile_cache import remove_torn, whole


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("library")
    (folder / "kernel.c").write_text("int kernel(int x) { return 2 * x; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "kernel.so", "kernel.c"], cwd=folder, check=True)
    return (folder / "kernel.so").read_bytes()


def put(cache: Path, name: str, data: bytes) -> Path:
    path = cache / name[1:3] / f"{name}.main.so"
    path.parent.mkdir(parents=True, exist_ok=True)
    (cache / "locks").mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


@settings(max_examples=50)
@given(share=st.floats(0, 0.999))
def test_truncated_library_is_not_whole(share: float, library: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("torn") / "kernel.so"
    path.write_bytes(library[: int(share * len(library))])
    assert not whole(path)
    path.write_bytes(library)
    assert whole(path)


def test_library_of_zeros_is_not_whole(tmp_path: Path, library: bytes) -> None:
    path = tmp_path / "kernel.so"
    path.write_bytes(b"\0" * len(library))
    assert not whole(path)


def test_only_torn_libraries_are_removed(tmp_path: Path, library: bytes) -> None:
    good = put(tmp_path, "cgood", library)
    torn, empty = put(tmp_path, "ctorn", library[:900]), put(tmp_path, "cnone", b"")
    assert remove_torn(tmp_path) == sorted([torn, empty])
    assert good.exists()
    assert not torn.exists() and not empty.exists()
    assert remove_torn(tmp_path) == []


def test_library_being_compiled_is_kept(tmp_path: Path, library: bytes) -> None:
    path = put(tmp_path, "cbusy", library[:900])
    with FileLock(str(tmp_path / "locks" / "cbusy.lock")):
        assert remove_torn(tmp_path) == []
    assert path.exists()
    assert remove_torn(tmp_path) == [path]


def test_missing_cache_is_accepted(tmp_path: Path) -> None:
    assert remove_torn(tmp_path / "nothing") == []
