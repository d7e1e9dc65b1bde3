"""A separate environment for AI2's package, because it has the same name as ours."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

AI2 = "ai2-olmo-core==3.0.0"


def ai2_command() -> list[str]:
    """Return the command that starts Python in that environment; create it if it is missing or shares other packages.

    It shares the packages of this environment, so that all implementations have the same torch, but prefers its own. It
    is in the user's cache or under OLMO_HOME.
    """
    home = Path(os.environ.get("OLMO_HOME") or Path.home() / ".cache" / "olmo-release")
    folder = home / "peers" / AI2.replace("==", "-")
    shared = sysconfig.get_path("purelib") + "\n"
    command, made = [str(folder / "bin" / "python"), "-E"], folder / "made"  # -E: PYTHONPATH may contain our package.
    if not made.exists() or made.read_text() != shared:
        venv.create(folder, clear=True, with_pip=True)
        Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}), "project.pth").write_text(shared)
        # With pip: uv would ignore the shared packages and download a torch of several GB.
        subprocess.run([*command, "-m", "pip", "install", "--quiet", AI2], stdout=sys.stderr, check=True)
        made.write_text(shared)
    return command
