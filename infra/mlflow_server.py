"""MLflow's tracking server as one process: `python -m infra.mlflow_server` accepts the options of `mlflow server`.

`mlflow server` prepares the databases, starts the server as a child and waits for it. If it is killed, the child keeps
running and holds the port; so here the process replaces itself with the server.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow import server
from mlflow.cli import cli

from infra.mlflow_database import make_database


def replace_process(command: Sequence[str], extra_env: Mapping[str, str], **_: Any) -> None:
    """Replace this process by a command, as `mlflow.server` would start it."""
    os.execve(command[0], list(command), {**os.environ, **extra_env})


if __name__ == "__main__":
    make_database(os.environ["MLFLOW_BACKEND_STORE_URI"])
    server._exec_cmd = replace_process  # type: ignore[attr-defined, assignment]  # there is no public way
    cli(["server", *sys.argv[1:]], prog_name="mlflow")
