"""`olmo report`: where the page is written, and the errors of bad input."""

import os
import subprocess
import sys
from pathlib import Path

LIMIT_SECONDS = 120


def olmo_report(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "flows.cli.app", "report", *arguments]
    environment = {**os.environ, "OLMO_HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS)


def test_page_is_at_printed_path(tmp_path: Path) -> None:
    ended = olmo_report(tmp_path, "micro", "--release.card.title=Another title")
    assert ended.returncode == 0, ended.stderr
    path = tmp_path / "report" / "micro.html"
    assert ended.stdout == f"{path}\n"
    assert "<h1>Another title</h1>" in path.read_text()
    assert [each.name for each in path.parent.iterdir()] == ["micro.html"]


def test_unwritable_page_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path, tmp_path / "file" / "page.html"):
        ended = olmo_report(tmp_path, "micro", "--out", str(out))
        assert ended.returncode == 2
        assert str(out) in ended.stderr.replace("\n", "")
        assert "Traceback" not in ended.stderr
