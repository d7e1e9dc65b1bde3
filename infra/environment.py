"""The settings of the user's shell and folder that reach our processes; only this file changes the environment.

Loopback connections never use a proxy. Our own servers and their clients ignore settings made for other servers:
a variable for another Prefect would otherwise direct our server to its database.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
# Variables that configure a server or its storage; they are set again wherever one of ours starts. PG is libpq's.
SERVERS = ("PREFECT_", "MLFLOW_", "UVICORN_", "GUNICORN_", "PG")
# Variables that name a Ray cluster, its secrets or the location of its state. Other RAY_ variables tune any cluster.
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

_in_folder_lock = threading.Lock()


def bypass_proxy_on_loopback() -> None:
    """Make this process and its children connect to this machine without a proxy."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return  # no_proxy alone would hide proxies in the system's own settings
    given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")).split(",")
    hosts = [host.strip() for host in given if host.strip()]
    value = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, *LOOPBACK_HOSTS]))
    os.environ.update({"no_proxy": value, "NO_PROXY": value})


def unset(*prefixes: str) -> None:
    """Remove variables with these prefixes from this process, except those with which Prefect starts a run."""
    for name in [each for each in os.environ if each.startswith(prefixes) and not each.startswith("PREFECT__")]:
        del os.environ[name]


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """Run a block in another folder, one thread at a time, because a process has one current folder."""
    with _in_folder_lock, contextlib.chdir(folder):
        yield


@contextlib.contextmanager
def without_files_of_prefect(home: Path) -> Iterator[None]:
    """Keep Prefect, imported in the block, from reading settings files in the user's folder."""
    if not any(Path(name).is_file() for name in PREFECT_FILES):
        yield  # without the lock, so that Ray can start meanwhile
        return
    folder = home / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    with in_folder(folder):
        yield
