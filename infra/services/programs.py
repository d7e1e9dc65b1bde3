"""The servers of a profile: their commands, start order, addresses and health checks, and what their clients need.

All servers listen on 127.0.0.1 and require a token. `supervisor` keeps the processes alive.
"""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.ports import HOST
from infra.prefect_server import client_environment, database_url
from infra.profile import Profile
from infra.ray_cluster import LOOPBACK, QUIET, SOCKET_BYTES
from infra.services import postgres
from infra.services.supervisor import Program, short_path
from infra.services.tokens import USER, Tokens

POOL = "olmo"
AT_ONCE = {
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"
}  # by default a node that ends waits 30 s for others to take its work
FOLDER_BYTES = 33  # of the name of Ray's folder, with a user's number
PASSWORD_SECONDS = 60  # MLflow caches a password; by default it checks it at every request, with 70 ms of CPU
POLL_SECONDS = 2  # how often the worker looks for due runs; Prefect's default is 10


@dataclass(frozen=True)
class Service:
    """A server of the group.

    Attributes:
        program: its process.
        wave: it starts when all services of earlier waves are healthy.
        address: URL for people and clients, '' if there is nothing to open.
        ports: ports that it listens on, by their fields in the profile's `services`.
        healthy: returns whether it works; None if it is healthy while running, or after it ended with code 0.
    """

    program: Program
    wave: int
    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    healthy: Callable[[], bool] | None = None


def services(profile: Profile, tokens: Tokens, source: str, recipes: Sequence[str]) -> list[Service]:
    """Return the servers of a profile in start order, including the program that registers deployments of `recipes`."""
    home, ports = profile.folder, profile.services
    python = sys.executable
    prefect, mlflow = f"http://{HOST}:{ports.prefect_port}", f"http://{HOST}:{ports.mlflow_port}"
    found: list[Service] = []
    if ports.postgres_port is not None:
        program = postgres.prepare(home / "postgres", tokens, ports.postgres_port)
        listens = {"postgres_port": ports.postgres_port}
        found.append(Service(program, 0, ports=listens, healthy=_databases(ports.postgres_port, tokens)))
    uvicorn = [python, "-m", "uvicorn", "--factory", "infra.prefect_app:create_app", "--host", HOST]
    server = [*uvicorn, "--port", str(ports.prefect_port), "--log-level", "warning", "--timeout-keep-alive", "5"]
    variables = {"PREFECT_SERVER_UI_API_URL": f"{prefect}/api"}
    listens = {"prefect_port": ports.prefect_port}
    found.append(Service(Program("prefect", server, variables), 1, prefect, listens, _answers(f"{prefect}/api/health")))
    tracking = [python, "-m", "infra.mlflow_server", "--app-name", "basic-auth", "--host", HOST, "--workers", "1"]
    tracking += ["--port", str(ports.mlflow_port), "--artifacts-destination", str(home / "mlflow-artifacts")]
    jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # eight more processes, for judging and optimising prompts
    listens = {"mlflow_port": ports.mlflow_port}
    found.append(Service(Program("mlflow", tracking, jobs), 1, mlflow, listens, _answers(f"{mlflow}/health")))
    dashboard = f"http://{HOST}:{ports.dashboard_port}"
    head = [python, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    head += ["--node-ip-address", HOST, "--port", str(ports.ray_port), "--dashboard-host", HOST]
    head += ["--ray-client-server-port", str(ports.ray_client_port)]
    head += ["--dashboard-port", str(ports.dashboard_port), "--include-dashboard", "true"]
    # Defaults are 52365, and 10002 to 19999; ports of this profile or of another home may be among them.
    head += ["--dashboard-agent-listen-port", "0", "--min-worker-port", "0", "--max-worker-port", "0"]
    head += [] if profile.ray.cpus is None else ["--num-cpus", str(profile.ray.cpus)]
    found.append(
        Service(
            Program("ray", head, {**QUIET, **LOOPBACK, **AT_ONCE}),
            1,
            dashboard,
            {name: getattr(ports, name) for name in ("ray_port", "ray_client_port", "dashboard_port")},
            _answers(f"{dashboard}/api/gcs_healthz", {"Authorization": f"Bearer {tokens['ray']}"}),
        )
    )
    register = [python, "-m", "deployments.register", "--profile", _absolute(source), *map(_absolute, recipes)]
    found.append(Service(Program("deployments", register, once=True), 2))
    worker = [python, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", "this machine"]
    found.append(Service(Program("worker", worker, {"PREFECT_WORKER_QUERY_SECONDS": str(POLL_SECONDS)}), 2))
    return found


def server_environment(profile: Profile, tokens: Tokens) -> dict[str, str]:
    """Return the environment of the group: that of the clients, and secrets for servers only."""
    home, port = profile.folder, profile.services.postgres_port
    accounts = home / "services" / "mlflow-accounts.ini"
    databases = {
        "prefect": database_url(home),
        "mlflow": f"sqlite:///{home / 'mlflow.db'}",
        "mlflow_accounts": f"sqlite:///{home / 'mlflow-accounts.db'}",
    }
    if port is not None:
        databases = {name: postgres.url("postgresql+psycopg", port, name) for name in databases}
        databases["prefect"] = postgres.url("postgresql+asyncpg", port, "prefect")
    settings = {
        "default_permission": "READ",
        "database_uri": databases["mlflow_accounts"],
        "auth_cache_ttl_seconds": PASSWORD_SECONDS,
    }
    accounts.write_text("\n".join(["[mlflow]", *(f"{name} = {value}" for name, value in settings.items()), ""]))
    (home / "prefect").mkdir(parents=True, exist_ok=True)
    here = str(Path(__file__).parents[2])
    return {
        **os.environ,
        **client_settings(profile, tokens),
        "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PREFECT_LOGGING_LEVEL": "INFO",  # of runs of deployments, for their logs on the dashboard
        "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{tokens['prefect']}",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": databases["prefect"],
        "MLFLOW_BACKEND_STORE_URI": databases["mlflow"],
        "MLFLOW_AUTH_CONFIG_PATH": str(accounts),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": tokens["mlflow"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": tokens["mlflow_cookies"],
        **({"PGPASSWORD": tokens["postgres"]} if port is not None else {}),
    }


def client_settings(profile: Profile, tokens: Tokens) -> dict[str, str]:
    """Return the environment variables that every client of the servers needs, including tokens."""
    ports = profile.services
    return {
        **client_environment(profile.folder),
        "OLMO_HOME": str(profile.folder),
        "PREFECT_API_URL": f"http://{HOST}:{ports.prefect_port}/api",
        "PREFECT_API_AUTH_STRING": f"{USER}:{tokens['prefect']}",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the minimum of Prefect; an automation listens for them
        "MLFLOW_TRACKING_URI": f"http://{HOST}:{ports.mlflow_port}",
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": tokens["mlflow"],
        "RAY_TMPDIR": str(ray_folder(profile)),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(tokens.path("ray")),
    }


def ray_folder(profile: Profile) -> Path:
    """Return the folder in which the Ray cluster of a home folder keeps its sockets and logs."""
    return short_path(profile.folder, "-ray", FOLDER_BYTES + SOCKET_BYTES)


def _absolute(name: str) -> str:
    """Return an absolute path for a YAML file, because programs run in another folder; built-in names stay."""
    return str(Path(name).absolute()) if name.endswith((".yaml", ".yml")) else name


def _answers(url: str, headers: dict[str, str] | None = None) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=30) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return answers


def _databases(port: int, tokens: Tokens) -> Callable[[], bool]:
    def ready() -> bool:
        from psycopg import Error

        try:
            postgres.create_databases(port, tokens["postgres"])
            postgres.check_schemas(port, tokens)
        except (Error, OSError):
            return False
        return True

    return ready
