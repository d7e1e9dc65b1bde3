"""A home folder with its own services, including PostgreSQL, a Hub, a webhook, and a shell."""

import json
import re
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from commands import at_test_size, reader_environment, shell
from hub_server import FakeHub

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from services_home import Home, free_ports

LIMIT_SECONDS = 600
HUB_TOKEN = "hf_" + "canary" * 5
HOOK_SECRET = "canary-of-the-hook-" + "y" * 20
S3_SECRET = "canary-of-the-store-" + "x" * 20


class Hook(ThreadingHTTPServer):
    """A webhook that records what is posted to it."""

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


class Site(Home):
    """A home that uses every service: the profile `services` with free ports, and a test store and Hub."""

    def __init__(self, home: Path, hub: FakeHub, store: str) -> None:
        """Write the profile and set the environment of a user; start nothing."""
        prefect, mlflow, ray, client, dashboard, postgres = free_ports(6)
        super().__init__(
            home,
            "services",
            prefect=f"http://127.0.0.1:{prefect}/api",
            mlflow=f"http://127.0.0.1:{mlflow}",
            ray={"address": f"127.0.0.1:{ray}", "cpus": 4},
            background_workers=1,
            hub={"endpoint": hub.url},
            webhook="OLMO_WEBHOOK",
            services={
                "prefect_port": prefect,
                "mlflow_port": mlflow,
                "ray_port": ray,
                "ray_client_port": client,
                "dashboard_port": dashboard,
                "postgres_port": postgres,
            },
        )
        self.reader = Path(tempfile.mkdtemp(prefix="olmo-reader-"))
        (self.reader / ".olmo").symlink_to(home)
        self.hub = hub
        self.hook = Hook()
        self.environment |= {
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",  # this Hub does not have the newer storage back end
            "HF_TOKEN": HUB_TOKEN,
            "OLMO_WEBHOOK": self.hook.url,
            "AWS_ENDPOINT_URL_S3": store,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": S3_SECRET,
        }

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command as a user would, in the environment file that `olmo up` prints."""
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, env=self.clients(), capture_output=True, text=True, timeout=LIMIT_SECONDS)
        assert done.returncode == code, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    def olmo(self, *words: str, code: int = 0) -> str:
        return self.run("flows.cli.app", *words, "--profile", str(self.profile), code=code)

    def shell(self, text: str) -> None:
        """Run commands of a guide in a folder whose `.olmo` is this home, on the recipe and profile of this site."""
        commands = at_test_size(text)
        commands = re.sub(r"^olmo (\w+)", rf"olmo \1 --profile {self.profile}", commands, flags=re.M)
        shell(commands, self.reader, {**self.clients(), "PATH": reader_environment()["PATH"]})

    def run_of(self, text: str) -> str:
        """Return the id of the flow run in the output of `prefect deployment run`."""
        return next(line.split()[-1] for line in text.splitlines() if "UUID:" in line)
