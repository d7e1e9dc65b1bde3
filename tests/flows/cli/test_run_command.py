"""The error of `olmo run` if the disk is full."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.cli import run as running
from flows.opening import Opening
from infra.doctor.finding import Finding
from tasks.workers.failures import StepsFailedError

FULL = Finding("disk", "0.0 GB free in /data", "make room")
FINE = Finding("disk", "900.0 GB free in /data")


@pytest.mark.parametrize(
    ("error", "disk", "message"),
    [
        (
            RuntimeError("Server error 500"),
            FULL,
            r"^disk: 0\.0 GB free in /data; make room .* \(RuntimeError: ",
        ),
        (RuntimeError("Server error 500"), FINE, r"^Server error 500$"),
        (StepsFailedError("run/stage1: diverged"), FULL, r"^run/stage1: diverged$"),
    ],
)
def test_full_disk_is_named_instead_of_server_error(
    error: Exception, disk: Finding, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    monkeypatch.setattr(Opening, "check", lambda _: "")
    monkeypatch.setattr(running, "survey_plan", lambda *_: {})
    monkeypatch.setattr(running, "print_plan", lambda *_: None)
    monkeypatch.setattr(running, "_prefect", lambda _: nullcontext())
    monkeypatch.setattr(running, "open_session", lambda *_, **__: nullcontext(SimpleNamespace(start_workers=lambda: 0)))
    monkeypatch.setattr(running, "_run_flow", fail)
    monkeypatch.setattr(running, "room", lambda *_: disk)
    with pytest.raises(type(error) if disk.fine else StepsFailedError, match=message):
        running.run_release("micro", "laptop", [], None, None, as_json=False)
