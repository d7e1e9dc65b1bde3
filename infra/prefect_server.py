"""A Prefect server of our own, for as long as a command runs: on loopback, its database below the home folder.

It is Prefect's own application under uvicorn, as its temporary server is, but it starts while we still import, and it
cannot outlive us. Where a profile names a Prefect API, that one is used and nothing is started.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from infra.child import start_child, stop_child

START_SECONDS = 90  # a fresh database is migrated first: 15 s on two busy cores

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}


class PrefectServer:
    """A server that is starting or running; `wait` before use, `stop` at the end."""

    def __init__(self, home: Path) -> None:
        """Start it below `home`; returns at once."""
        self.log = home / "logs" / "prefect-server.log"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        (home / "prefect").mkdir(parents=True, exist_ok=True)
        own = {"PREFECT_API_URL": self.url, "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false"}  # it asks for no such token
        os.environ.update(client_environment(home) | own)
        self.process: subprocess.Popen[bytes] = start_child(self._command(), self._environment(), self.log)

    def wait(self) -> None:
        """Return when it answers.

        Raises:
            RuntimeError: it ended or was not ready in time; names its log.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the Prefect server ended with code {self.process.returncode}; see {self.log}")
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise RuntimeError(f"the Prefect server was not ready within {START_SECONDS} s; see {self.log}")

    def stop(self) -> None:
        """End it."""
        stop_child(self.process)

    def _command(self) -> list[str]:
        application = ["--factory", "infra.prefect_app:create_app", "--lifespan", "on", "--log-level", "error"]
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        here = str(Path(__file__).parents[1])
        return [sys.executable, "-P", "-m", "uvicorn", "--app-dir", here, *application, *address]

    def _environment(self) -> Mapping[str, str]:
        # The names Prefect gives its own temporary server: no UI, no background services that need a long life.
        temporary = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        return {**os.environ, **temporary}


def client_environment(home: Path) -> dict[str, str]:
    """Return the settings every Prefect process of ours runs under; set them before Prefect is imported."""
    return {"PREFECT_HOME": str(home / "prefect"), **QUIET}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
