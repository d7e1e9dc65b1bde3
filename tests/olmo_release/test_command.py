"""The `olmo` command where PYTHONPATH holds packages called as ours are."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = Path(__file__).parents[2] / "olmo_release" / "command.py"
OURS = ("deployments", "flows", "infra", "olmo_core", "tasks")


def test_our_packages_come_before_others_of_their_names(tmp_path: Path) -> None:
    for name in OURS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('that of another')")
    (tmp_path / "child.py").write_text("import deployments, flows, infra, olmo_core, tasks")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OLMO_HOME": str(tmp_path / "home")}
    # -P leaves out the script's own folder, as the installed command does.
    code = (
        f"import runpy, subprocess, sys; sys.argv = ['olmo', '--help']\n"
        f"try:\n    runpy.run_path({str(COMMAND)!r}, run_name='__main__')\n"
        f"except SystemExit as end:\n    assert not end.code, end\n"
        f"subprocess.run([sys.executable, '-P', '-m', 'child'], check=True)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
