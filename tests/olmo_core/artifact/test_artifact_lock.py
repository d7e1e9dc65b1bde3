import errno
import fcntl
import threading
from pathlib import Path

import pytest

from olmo_core.artifact.lock import locked


@pytest.fixture(params=[None, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a file system with or without locks."""

    def flock(*_: object) -> None:
        raise OSError(request.param, "no locks")

    if request.param is not None:
        monkeypatch.setattr(fcntl, "flock", flock)


def test_lock_has_one_holder_at_a_time(kind: None, tmp_path: Path) -> None:
    inside, seen = [], list[int]()
    path = tmp_path / "new" / ".lock"

    def work() -> None:
        for _ in range(5):
            with locked(path):
                inside.append(1)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 20
    with locked(path):
        pass


def test_other_lock_errors_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken"), locked(tmp_path / ".lock"):
        pass
