"""The `olmo` command: our packages come before others of their names that PYTHONPATH may hold.

The name of its package is nobody else's: folders called `flows` or `tasks` are common, and AI2 has an `olmo_core` too.
"""

import os
import sys
from pathlib import Path


def main() -> None:
    """Run the command, in a process and with children that import our packages."""
    here = str(Path(__file__).resolve().parents[1])
    sys.path.insert(0, here)
    if "PYTHONPATH" in os.environ:
        os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ["PYTHONPATH"]])
    from flows.cli.app import main as command

    command()


if __name__ == "__main__":
    main()
