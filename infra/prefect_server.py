"""A Prefect server of our own, for as long as a command runs: on loopback, its database below the home folder.

It is Prefect's own application under uvicorn, as its temporary server is, but it starts while we still import, and it
cannot outlive us. Where a profile names a Prefect API, that one is used and nothing is started.
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
from infra.environment import forget
from infra.patience import Lines, Patience, Show, work_of
from infra.ports import free_port

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
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._home = home / "prefect"
        self._home.mkdir(parents=True, exist_ok=True)
        own = {"PREFECT_API_URL": self.url, "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false"}  # it asks for no such token
        forget("PREFECT_", "UVICORN_")
        os.environ.update(client_environment(home) | own)
        # Prefect reads settings from files of the folder it starts in, too.
        self.process: subprocess.Popen[bytes] = start_child(
            self._command(), self._environment(), self.log, folder=self._home
        )

    def wait(self, show: Show | None = None) -> None:
        """Return when it answers; a fresh database is migrated first, 15 s on two busy cores.

        Raises:
            RuntimeError: it ended, or does nothing any more; names its log.
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
        raise RuntimeError(f"the Prefect server came to a standstill while it started; see {self.log}")

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
        return {**os.environ, **temporary, "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url(self._home.parent)}


def client_environment(home: Path) -> dict[str, str]:
    """Return the settings every Prefect process of ours runs under; set them before Prefect is imported."""
    return {"PREFECT_HOME": str(home / "prefect"), **QUIET}


def database_url(home: Path) -> str:
    """Return the address of Prefect's SQLite database below `home`."""
    return f"sqlite+aiosqlite:///{home / 'prefect' / 'prefect.db'}"
