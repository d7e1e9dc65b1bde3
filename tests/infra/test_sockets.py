import tempfile
from pathlib import Path

import pytest

from infra import sockets
from infra.ray_cluster import SOCKET_BYTES
from infra.services.errors import ServiceError
from infra.services.supervisor import short_path
from infra.sockets import PATH_BYTES, own_folder, shared_folder


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set TMPDIR to a long path, as Slurm does."""
    folder = tmp_path / "slurm_jobdir" / "1355700" / "tmp.t0016"
    folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_socket_folder_is_short_enough(deep: Path) -> None:
    assert own_folder(SOCKET_BYTES) == Path("/tmp")
    assert own_folder(PATH_BYTES - len(str(deep))) == deep, "TMPDIR if it fits"


def test_group_is_found_under_another_tmpdir(deep: Path, tmp_path: Path) -> None:
    before = short_path(tmp_path, ".sock", 44)
    tempfile.tempdir = str(tmp_path)
    assert short_path(tmp_path, ".sock", 44) == before
    assert len(str(before)) < PATH_BYTES


@pytest.mark.parametrize("choose", [own_folder, shared_folder])
def test_tmpdir_is_named_without_a_short_folder(
    choose: object, deep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SHARED", tmp_path / "not-there")
    with pytest.raises(ServiceError, match=rf"^TMPDIR={deep} is too long for a socket, .* at most 37 characters$"):
        choose(SOCKET_BYTES)  # type: ignore[operator]
