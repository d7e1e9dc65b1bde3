"""A home folder with its own services on free ports, for benchmarks of operation and for tests."""

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from infra.profile import BUILTIN

LIMIT_SECONDS = 1800.0
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
PORTS = ("prefect_port", "mlflow_port", "ray_port", "ray_client_port", "dashboard_port")


class Home:
    """A home folder with its own services."""

    def __init__(self, home: Path, base: str = "laptop", **fields: Any) -> None:
        """Write a profile without starting anything: a built-in one with free ports and with these fields replaced."""
        built_in = BUILTIN / f"{base}.yaml"
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.home = home
        self.profile = home / "services.yaml"
        self.profile.write_text(yaml.safe_dump({**yaml.safe_load(built_in.read_text()), "services": ports, **fields}))
        self.environment = {**os.environ, "OLMO_HOME": str(home)}

    def timed(self, *words: str) -> float:
        """Run a Python module as a command; return its seconds."""
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", *words], env=self.clients(), stdout=sys.stderr, check=True)
        return round(time.monotonic() - began, 1)

    def clients(self) -> dict[str, str]:
        """Return the environment of a client, from the file that `olmo up` writes for shells."""
        file = self.home / "services" / "environment"
        lines = file.read_text().splitlines() if file.exists() else []
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
        return {**self.environment, **{name: shlex.split(value)[0] for name, value in pairs}}

    def prefect(self, method: str, path: str, **body: Any) -> Any:
        """Call Prefect's API."""
        settings = self.clients()
        user, _, password = settings["PREFECT_API_AUTH_STRING"].partition(":")
        url = f"{settings['PREFECT_API_URL']}/{path}"
        response = httpx.request(method, url, json=body or None, auth=(user, password), timeout=30)
        response.raise_for_status()
        return response.json()

    def start(self, deployment: str, overrides: list[str]) -> str:
        """Start a run of a deployment; return the id of the flow run."""
        deployed = self.prefect("GET", f"deployments/name/{deployment}")
        parameters = {**deployed["parameters"], "overrides": overrides}
        return str(self.prefect("POST", f"deployments/{deployed['id']}/create_flow_run", parameters=parameters)["id"])

    def state(self, run: str) -> str:
        """Return the type of a flow run's state; '' if the server does not answer."""
        try:
            return str(self.prefect("GET", f"flow_runs/{run}")["state_type"])
        except httpx.TransportError:
            return ""

    def wait_in(self, run: str, what: Callable[[], object]) -> None:
        """Wait for a condition during a flow run.

        Raises:
            RuntimeError: the run ended before.
        """

        def reached() -> bool:
            if (state := self.state(run)) in ENDS:
                message = self.prefect("GET", f"flow_runs/{run}")["state"]["message"]
                raise RuntimeError(f"flow run {run} is {state}: {message}")
            return bool(what())

        wait(reached)

    def processes(self, words: str = "") -> list[psutil.Process]:
        """Return the processes of this home whose command line contains these words."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            try:
                if words in " ".join(process.info["cmdline"] or []):
                    found += [process] if process.environ().get("OLMO_HOME") == str(self.home) else []
            except psutil.Error:
                continue
        return found

    def kill(self, words: str) -> None:
        """Send SIGKILL to the processes of this home whose command line contains these words.

        Raises:
            LookupError: there is no such process.
        """
        found = self.processes(words)
        if not found:
            raise LookupError(f"no process of {self.home} runs {words!r}")
        for process in found:
            process.kill()


def free_ports(count: int) -> list[int]:
    """Return ports of this machine on which no process listens."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait(what: Callable[[], object], seconds: float = LIMIT_SECONDS) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it does not hold after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing after {seconds:.0f} s")
        time.sleep(0.1)
