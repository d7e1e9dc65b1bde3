"""The environment AI2's package is installed in: its own, because that package has the same name as ours."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

AI2 = "ai2-olmo-core==3.0.0"


def ai2_command() -> list[str]:
    """Return how to start Python in that environment; make it where it is missing, or was made beside other packages.

    It sees the packages of this one, so that all implementations have the same torch, and prefers its own. It lies in
    the user's cache or under OLMO_HOME.
    """
    home = Path(os.environ.get("OLMO_HOME") or Path.home() / ".cache" / "olmo-release")
    folder = home / "peers" / AI2.replace("==", "-")
    shared = sysconfig.get_path("purelib") + "\n"
    command, made = [str(folder / "bin" / "python"), "-E"], folder / "made"  # -E: on a PYTHONPATH may be our package.
    if not made.exists() or made.read_text() != shared:
        venv.create(folder, clear=True, with_pip=True)
        Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}), "project.pth").write_text(shared)
        # By pip: uv would not count the shared packages as installed, and fetch a torch of several GB.
        subprocess.run([*command, "-m", "pip", "install", "--quiet", AI2], stdout=sys.stderr, check=True)
        made.write_text(shared)
    return command
