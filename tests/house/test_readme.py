"""Every command of the README says how it is tested: `run` and `serve PORT` by tests/flows/test_release.py; `dry` here.

`dry` asks make what it would do, because quickstart and test are what continuous integration itself does.
"""

import os
import subprocess

import pytest
from pages import ROOT, Block, blocks

COMMANDS = [block for block in blocks("README.md") if block.language]
MAKES = {
    "make quickstart": "olmo run tiny",
    "make test": "-m pytest",
    "make environment TORCH=cpu": "--torch-backend cpu",
    "make environment PYTHON=python3": "python3 -m venv",
}


def test_every_block_of_commands_says_how_it_is_tested() -> None:
    assert {block.how.split()[0] for block in COMMANDS} == {"run", "serve", "dry"}


@pytest.mark.parametrize("block", [block for block in COMMANDS if block.how == "dry"], ids=str)
def test_make_would_do_what_the_page_says(block: Block) -> None:
    for line in block.text.splitlines():
        command = line.partition("#")[0].strip()
        words = ["make", "--dry-run", "--always-make", "--no-print-directory", *command.split()[1:]]
        plain = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}}
        said = subprocess.run(words, cwd=ROOT, env=plain, capture_output=True, text=True, timeout=60)
        assert said.returncode == 0, said.stderr
        assert MAKES[command] in said.stdout
    assert "make test" in (ROOT / ".ci/run").read_text()
