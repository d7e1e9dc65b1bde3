"""docs/release-page.md keeps its word: its commands write pages, its profile loads, its keys are those of a record."""

import os
import subprocess
import sys
from pathlib import Path

from pages import blocks

from infra.profile import load_profile

GUIDE = "docs/release-page.md"


def test_the_commands_write_pages(tmp_path: Path) -> None:
    (block,) = (each for each in blocks(GUIDE) if each.language == "sh")
    for line in block.text.splitlines():
        words = line.partition("#")[0].split()
        assert words[0] == "olmo"
        command = [sys.executable, "-m", "flows.cli.app", *words[1:]]
        path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        subprocess.run(command, cwd=tmp_path, env=path, check=True, capture_output=True, timeout=120)
    assert (tmp_path / ".olmo" / "report" / "tiny.html").is_file()
    assert (tmp_path / "page.html").is_file()


def test_the_profile_loads(tmp_path: Path) -> None:
    (block,) = (each for each in blocks(GUIDE) if each.language == "yaml")
    (tmp_path / "mine.yaml").write_text(block.text)
    profile = load_profile(str(tmp_path / "mine.yaml"))
    assert (profile.country, profile.speed.watts) == ("DEU", 45)
