"""A home folder with services of its own, a Hub and a webhook beside it, and a shell in it."""

import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from commands import at_test_size, reader_environment, shell
from hub_server import FakeHub

LIMIT_SECONDS = 600
HUB_TOKEN = "hf_" + "canary" * 5
HOOK_SECRET = "canary-of-the-hook-" + "y" * 20
S3_SECRET = "canary-of-the-store-" + "x" * 20


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Hook(ThreadingHTTPServer):
    """A webhook; keeps what is posted to it."""

    def __init__(self) -> None:
        self.posted: list[Any] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: Any) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/{HOOK_SECRET}"


class Site:
    """A home folder with services of its own, and a shell in it."""

    def __init__(self, home: Path, hub: FakeHub, store: str) -> None:
        prefect, mlflow, ray, client, dashboard, postgres = free_ports(6)
        self.home = home
        self.reader = Path(tempfile.mkdtemp(prefix="olmo-reader-"))
        (self.reader / ".olmo").symlink_to(home)
        self.profile = home / "services.yaml"
        self.hub = hub
        self.hook = Hook()
        self.environment = {
            **os.environ,
            "OLMO_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": HUB_TOKEN,
            "OLMO_WEBHOOK": self.hook.url,
            "AWS_ENDPOINT_URL_S3": store,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": S3_SECRET,
            "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
        }
        self.profile.write_text(
            yaml.safe_dump(
                {
                    "artifacts": "s3://olmo/artifacts",
                    "prefect": f"http://127.0.0.1:{prefect}/api",
                    "mlflow": f"http://127.0.0.1:{mlflow}",
                    "ray": {"address": f"127.0.0.1:{ray}", "cpus": 4},
                    "hub": {"endpoint": hub.url},
                    "webhook": "OLMO_WEBHOOK",
                    "services": {
                        "prefect_port": prefect,
                        "mlflow_port": mlflow,
                        "ray_port": ray,
                        "ray_client_port": client,
                        "dashboard_port": dashboard,
                        "postgres_port": postgres,
                    },
                    "placement": {"threads": 1},
                    "training": {"single": {"cpus": 2, "placement": {"threads": 2}}},
                }
            )
        )

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command as a user would, with what `olmo up` tells a shell to read."""
        environment = {**self.environment, **self.told()}
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS)
        assert done.returncode == code, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    def olmo(self, *words: str, code: int = 0) -> str:
        return self.run("flows.cli", *words, "--profile", str(self.profile), code=code)

    def shell(self, text: str) -> None:
        """Run commands of a guide in a folder whose `.olmo` is this home, on the recipe and profile of this site."""
        commands = at_test_size(text)
        commands = re.sub(r"^olmo (\w+)", rf"olmo \1 --profile {self.profile}", commands, flags=re.M)
        shell(commands, self.reader, {**self.environment, **self.told(), "PATH": reader_environment()["PATH"]})

    def told(self) -> dict[str, str]:
        file = self.home / "services" / "environment"
        lines = file.read_text().splitlines() if file.exists() else []
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
        return {name: shlex.split(value)[0] for name, value in pairs}

    def prefect(self, method: str, path: str, **body: Any) -> Any:
        user, _, password = self.told()["PREFECT_API_AUTH_STRING"].partition(":")
        answer = httpx.request(
            method,
            f"{self.environment['PREFECT_API_URL']}/{path}",
            json=body or None,
            auth=(user, password),
            timeout=30,
        )
        answer.raise_for_status()
        return answer.json()

    def run_of(self, text: str) -> str:
        """Return the id of the flow run that `prefect deployment run` speaks of."""
        return next(line.split()[-1] for line in text.splitlines() if "UUID:" in line)

    def processes(self, words: str = "") -> list[psutil.Process]:
        """Return the processes that were started for this home and have these words in their command line."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                here = process.environ().get("OLMO_HOME") == str(self.home)
                if here and words in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def state(self, run: str) -> str:
        return str(self.prefect("GET", f"flow_runs/{run}")["state_type"])
