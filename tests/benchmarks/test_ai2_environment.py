"""The environment of AI2's package shares the packages installed here, but ignores PYTHONPATH."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import ai2_environment

RUN, CREATE = subprocess.run, venv.create
WHERE = "import importlib.util as u; print([getattr(u.find_spec(name), 'origin', None) for name in ('numpy', 'ours')])"


def test_environment_is_made_once_for_its_shared_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = []

    def run(command: list[str], **settings: Any) -> None:
        installed.append(command[command.index("install") :])

    monkeypatch.setenv("OLMO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(venv, "create", lambda folder, clear, with_pip: CREATE(folder, clear=clear))
    command = ai2_environment.ai2_command()
    assert ai2_environment.ai2_command() == command
    assert installed == [["install", "--quiet", ai2_environment.AI2]]

    (tmp_path / "ours.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    printed = RUN([*command, "-c", WHERE], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == str([numpy.__file__, None])

    (Path(command[0]).parents[1] / "made").write_text("/of/another/clone\n")
    ai2_environment.ai2_command()
    assert len(installed) == 2
