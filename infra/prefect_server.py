"""A Prefect server on loopback for the duration of a command, with its database below the home folder.

Like Prefect's temporary server it runs Prefect's application under uvicorn, but it starts while the command is still
importing, and it cannot outlive the command. If a profile names a Prefect API, no server is started.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from infra.child import start_child, stop_child
from infra.environment import unset
from infra.patience import Lines, Patience, Show, work_of
from infra.ports import free_port

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}


class PrefectServer:
    """A server that is starting or running; call `wait` before use and `stop` at the end."""

    def __init__(self, home: Path) -> None:
        """Start the server below `home` and return at once."""
        self.log = home / "logs" / "prefect-server.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._home = home / "prefect"
        self._home.mkdir(parents=True, exist_ok=True)
        own = {"PREFECT_API_URL": self.url, "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false"}  # it requires no CSRF token
        unset("PREFECT_", "UVICORN_")
        os.environ.update(client_environment(home) | own)
        # Started in its own folder, because Prefect also reads settings files of the current folder.
        self.process: subprocess.Popen[bytes] = start_child(
            self._command(), self._environment(), self.log, folder=self._home
        )

    def wait(self, show: Show | None = None) -> None:
        """Wait until the server answers; it first migrates a new database, in 15 s on two busy cores.

        Raises:
            RuntimeError: the server ended or makes no progress; names its log.
        """
        patience = Patience(show or Lines())
        while patience.lasts("the Prefect server", lambda: work_of(self.process.pid, self.log)):
            if self.process.poll() is not None:
                raise RuntimeError(f"the Prefect server ended with code {self.process.returncode}; see {self.log}")
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=30):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise RuntimeError(f"the Prefect server stopped making progress while starting; see {self.log}")

    def stop(self) -> None:
        """End the server."""
        stop_child(self.process)

    def _command(self) -> list[str]:
        application = ["--factory", "infra.prefect_app:create_app", "--lifespan", "on", "--log-level", "error"]
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        here = str(Path(__file__).parents[1])
        return [sys.executable, "-P", "-m", "uvicorn", "--app-dir", here, *application, *address]

    def _environment(self) -> Mapping[str, str]:
        # The variables of Prefect's own temporary server: no UI, and no background services for long-running servers.
        temporary = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        return {**os.environ, **temporary, "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url(self._home.parent)}


def client_environment(home: Path) -> dict[str, str]:
    """Return the settings for all our Prefect processes; set them before importing Prefect."""
    return {"PREFECT_HOME": str(home / "prefect"), **QUIET}


def database_url(home: Path) -> str:
    """Return the URL of Prefect's SQLite database below `home`."""
    return f"sqlite+aiosqlite:///{home / 'prefect' / 'prefect.db'}"
