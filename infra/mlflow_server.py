"""MLflow's tracking server as one process: `python -m infra.mlflow_server` takes what `mlflow server` takes.

`mlflow server` prepares the databases, then stays beside the server it started. Killed, it would leave that behind,
with the port; so here it becomes the server.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow import server
from mlflow.cli import cli

from infra.mlflow_database import make_database


def become(command: Sequence[str], extra_env: Mapping[str, str], **_: Any) -> None:
    """Take the place of this process."""
    os.execve(command[0], list(command), {**os.environ, **extra_env})


if __name__ == "__main__":
    make_database(os.environ["MLFLOW_BACKEND_STORE_URI"])
    server._exec_cmd = become  # type: ignore[attr-defined, assignment]  # there is no public way
    cli(["server", *sys.argv[1:]], prog_name="mlflow")
