"""What operation costs: services up, a release as a deployment, a cancelled and a killed run, the page: a JSON line.

    python benchmarks/operate.py [recipe]

Everything happens in a fresh folder with servers of its own on free ports. Figures are seconds of wall-clock time,
single-shot. `cancelled` is from the request until no process of the run is left and its lease is free; `crashed` from
`kill -9` of worker and run until Prefect shows the run as crashed.
"""

import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

LIMIT_SECONDS = 1800.0


class Site:
    """A home folder with services of its own."""

    def __init__(self, home: Path) -> None:
        names = ("prefect_port", "mlflow_port", "ray_port", "ray_client_port", "dashboard_port")
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in names]
        ports = {name: probe.getsockname()[1] for name, probe in zip(names, probes, strict=True)}
        for probe in probes:
            probe.close()
        laptop = Path(__file__).parents[1] / "olmo_core" / "recipe" / "profiles" / "laptop.yaml"
        self.profile = home / "benchmark.yaml"
        self.profile.write_text(yaml.safe_dump({**yaml.safe_load(laptop.read_text()), "services": ports}))
        self.home = home
        self.environment = {**os.environ, "OLMO_HOME": str(home)}

    def timed(self, *words: str) -> float:
        """Run a command of Python modules; return its seconds."""
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", *words], env=self.clients(), stdout=sys.stderr, check=True)
        return round(time.monotonic() - began, 1)

    def clients(self) -> dict[str, str]:
        """Return the environment of a client, as `olmo up` leaves it for shells."""
        file = self.home / "services" / "environment"
        lines = file.read_text().splitlines() if file.exists() else []
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
        return {**self.environment, **{name: shlex.split(value)[0] for name, value in pairs}}

    def prefect(self, method: str, path: str, **body: Any) -> Any:
        """Call Prefect's API."""
        settings = self.clients()
        user, _, password = settings["PREFECT_API_AUTH_STRING"].partition(":")
        url = f"{settings['PREFECT_API_URL']}/{path}"
        answer = httpx.request(method, url, json=body or None, auth=(user, password), timeout=30)
        answer.raise_for_status()
        return answer.json()

    def start_training(self, recipe: str) -> str:
        """Start another run of stage 1 by its deployment; return the id of the flow run once it trains."""
        deployed = self.prefect("GET", f"deployments/name/pretrain/{recipe}")
        parameters = {**deployed["parameters"], "overrides": ["stages.stage1.seeds=[1]"]}
        run = self.prefect("POST", f"deployments/{deployed['id']}/create_flow_run", parameters=parameters)
        wait(lambda: processes(self, "ray::RayTrainWorker"))
        time.sleep(5)  # into its steps, or what compiles them
        return str(run["id"])

    def state(self, run: str) -> str:
        """Return the type of a flow run's state."""
        return str(self.prefect("GET", f"flow_runs/{run}")["state_type"])


def main() -> None:
    recipe = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        figures: dict[str, Any] = {"recipe": recipe}
        try:
            figures["up_seconds"] = site.timed("flows.cli", "up", recipe, "--profile", str(site.profile))
            figures["up_again_seconds"] = site.timed("flows.cli", "up", recipe, "--profile", str(site.profile))
            run = ("prefect", "deployment", "run", f"release/{recipe}", "--watch")
            figures["release_seconds"] = site.timed(*run)
            figures["reused_seconds"] = site.timed(*run)
            figures["cancelled_seconds"] = cancelled(site, recipe)
            figures["crashed_seconds"] = crashed(site, recipe)
        finally:
            figures["down_seconds"] = site.timed("flows.cli", "down", "--profile", str(site.profile))
    page = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("report.py"))], stdout=subprocess.PIPE, check=True
    )
    figures["page"] = json.loads(page.stdout)
    print(json.dumps(figures, sort_keys=True))


def cancelled(site: Site, recipe: str) -> float:
    """Return the seconds from cancelling a run that trains until nothing of it is left."""
    run = site.start_training(recipe)
    began = time.monotonic()
    site.prefect("POST", f"flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
    wait(lambda: site.state(run) == "CANCELLED")
    wait(lambda: not processes(site, "ray::RayTrainWorker") and not processes(site, "prefect.engine"))
    return round(time.monotonic() - began, 1)


def crashed(site: Site, recipe: str) -> float:
    """Return the seconds from killing worker and run until the run is shown as crashed."""
    run = site.start_training(recipe)
    began = time.monotonic()
    for process in [*processes(site, "prefect worker start"), *processes(site, "prefect.engine")]:
        process.kill()
    wait(lambda: site.state(run) == "CRASHED")
    return round(time.monotonic() - began, 1)


def processes(site: Site, words: str) -> list[psutil.Process]:
    """Return the processes of a site whose command line holds these words."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if words in " ".join(process.info["cmdline"] or []) and process.environ().get("OLMO_HOME") == str(
                site.home
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait(what: Callable[[], object]) -> None:
    """Return when something is true."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing after {LIMIT_SECONDS:.0f} s")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
