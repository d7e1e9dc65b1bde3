"""Which settings of the user's shell and folder reach our processes: the one place that changes the environment.

Loopback never goes through a proxy. Servers of our own and their clients take no setting that was made for others:
a variable for another Prefect would otherwise send our tables to its database.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
# Variables that choose what a server of ours is or keeps; all of them are set anew where one starts. PG is libpq's.
SERVERS = ("PREFECT_", "MLFLOW_", "UVICORN_", "GUNICORN_", "PG")
# Variables that name a Ray cluster, its secrets or where it keeps its state. Other RAY_ variables tune any cluster.
RAY_CLUSTER = (
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_AUTH_",
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
    "RAY_NAMESPACE",
    "RAY_REDIS_",
    "RAY_RUNTIME_ENV_HOOK",
    "RAY_external_storage_namespace",
)
PREFECT_FILES = (".env", "prefect.toml", "pyproject.toml")

_standing = threading.Lock()


def loopback_directly() -> None:
    """Let neither this process nor its children ask a proxy for this machine."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return  # a lone no_proxy would hide the proxies of the system's own settings
    given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")).split(",")
    hosts = [host.strip() for host in given if host.strip()]
    value = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, *LOOPBACK_HOSTS]))
    os.environ.update({"no_proxy": value, "NO_PROXY": value})


def forget(*beginnings: str) -> None:
    """Drop the variables that begin so from this process, but for those with which Prefect starts a run."""
    for name in [each for each in os.environ if each.startswith(beginnings) and not each.startswith("PREFECT__")]:
        del os.environ[name]


@contextlib.contextmanager
def standing_in(folder: Path) -> Iterator[None]:
    """Run a block in another folder, one thread at a time, because a process has one current folder."""
    with _standing, contextlib.chdir(folder):
        yield


@contextlib.contextmanager
def without_files_of_prefect(home: Path) -> Iterator[None]:
    """Keep Prefect, imported in the block, from the settings in files of the user's folder."""
    if not any(Path(name).is_file() for name in PREFECT_FILES):
        yield  # Ray may start meanwhile
        return
    folder = home / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    with standing_in(folder):
        yield
