"""Every command of the README is run, at test size: the recipe `micro` where the page says `tiny`.

The comment before a block says how: `run` in order, in one folder; `serve PORT` until it answers; `dry` asks make what
it would do, because quickstart and test are what continuous integration itself does.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from pages import ROOT, Block, blocks

COMMANDS = [block for block in blocks("README.md") if block.language]
RUN_SECONDS = 600
SERVE_SECONDS = 150
MAKES = {
    "make quickstart": "olmo run tiny",
    "make test": "-m pytest",
    "make environment TORCH=cpu": "--torch-backend cpu",
    "make environment PYTHON=python3": "python3 -m venv",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder a reader of the page works in."""
    return tmp_path_factory.mktemp("reader")


def environment() -> dict[str, str]:
    bin_ = str(Path(sys.executable).parent)
    left_out = {"OLMO_HOME", "MAKEFLAGS", "MAKELEVEL"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}


def end(process: "subprocess.Popen[str]") -> None:
    """Kill a process and all it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def shell(text: str, folder: Path) -> None:
    """Run a block in a shell; the first command that fails, fails it."""
    command = ["bash", "-euo", "pipefail", "-c", text]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=RUN_SECONDS)
    finally:
        end(process)
    assert process.returncode == 0, said[-4000:]


def micro(block: Block) -> str:
    return re.sub(r"\btiny\b", "micro", block.text)


def test_every_block_of_commands_says_how_it_is_tested() -> None:
    assert {block.how.split()[0] for block in COMMANDS} == {"run", "serve", "dry"}


@pytest.mark.parametrize("block", [block for block in COMMANDS if block.how == "run"], ids=str)
def test_commands(block: Block, folder: Path) -> None:
    if block.language == "python":
        (folder / "block.py").write_text(micro(block))
        shell(f"{sys.executable} block.py", folder)
    else:
        shell(micro(block), folder)


@pytest.mark.parametrize("block", [block for block in COMMANDS if block.how.startswith("serve")], ids=str)
def test_servers_answer(block: Block, folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    written = block.how.split()[1]
    assert written in block.text
    log = folder / f"serve-{written}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-euc", block.text.replace(written, port)],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + SERVE_SECONDS
        while not answers(f"http://127.0.0.1:{port}/"):
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.5)
    finally:
        end(process)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.parametrize("block", [block for block in COMMANDS if block.how == "dry"], ids=str)
def test_make_would_do_what_the_page_says(block: Block) -> None:
    for line in block.text.splitlines():
        command = line.partition("#")[0].strip()
        words = ["make", "--dry-run", "--always-make", "--no-print-directory", *command.split()[1:]]
        said = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60)
        assert said.returncode == 0, said.stderr
        assert MAKES[command] in said.stdout
    assert "make test" in (ROOT / ".ci/run").read_text()
