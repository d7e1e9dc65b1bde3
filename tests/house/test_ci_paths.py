"""Continuous integration names only test files that are there: pytest runs nothing at all where one is missing."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / ".ci").glob("[!.]*"))


def named_paths(script: str) -> list[str]:
    """What the words of a script that begin with `tests/` come to once bash has expanded their braces."""
    words = [word for word in script.split() if word.startswith("tests/")]
    if not words:
        return []
    expanded = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {' '.join(words)}"], capture_output=True, text=True, check=True
    )
    return expanded.stdout.split()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_tests_a_script_names_are_there(script: Path) -> None:
    assert [path for path in named_paths(script.read_text()) if not (ROOT / path).exists()] == []


def test_braces_are_expanded() -> None:
    assert named_paths("pytest tests/a/test_{b,c}.py -x") == ["tests/a/test_b.py", "tests/a/test_c.py"]
