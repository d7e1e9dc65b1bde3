"""Runs the commands of a page as its reader would: in a separate shell, with `micro` instead of `tiny`."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

FEW = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
LIMIT_SECONDS = 600
SERVE_SECONDS = 150


def at_test_size(text: str) -> str:
    return re.sub(r"\btiny\b", "micro", text)


def reader_environment() -> dict[str, str]:
    """Return the environment of a reader: `olmo` on the path, no variables of the tests.

    MLflow's server starts without its eight processes that judge prompts, which cost more than everything tested here.
    """
    left_out = {"OLMO_HOME", "MAKEFLAGS", "MAKELEVEL"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", **FEW}


def shell(text: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run commands; the first failure fails the test."""
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
    finally:
        end(process)
    assert process.returncode == 0, output[-4000:]


def serve(text: str, url: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run a server command until it answers at `url`."""
    log = folder / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-euc", text],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + SERVE_SECONDS
        while not answers(url):
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.2)
    finally:
        end(process)


def end(process: "subprocess.Popen[str]") -> None:
    """Kill a process and its descendants."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
