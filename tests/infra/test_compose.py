"""The compose file is valid, has no dangling references, publishes on loopback only and has valid commands."""

import copy
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema.validators import validator_for
from variables import ROOT, unknown

from infra.compose.make_secrets import make_secrets
from infra.profile import load_profile

FOLDER = ROOT / "infra" / "compose"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if "build" in service}
PROFILE = load_profile(str(FOLDER / "profile.yaml"))
SECRET = re.compile("PASSWORD|SECRET|TOKEN|AUTH_STRING|CREDENTIAL|KEY")

Compose = dict[str, Any]


def invalid(compose: Compose) -> list[str]:
    """Return violations of the schema of the Compose Specification."""
    schema = get_builtin_schema("vendor.compose-spec")
    return [error.message for error in validator_for(schema)(schema).iter_errors(compose)]


def mounted(service: Compose, kind: str) -> dict[str, str]:
    """Return source -> target of a service's secrets or configs."""
    entries = [each if isinstance(each, dict) else {"source": each} for each in service.get(kind, [])]
    return {each["source"]: each.get("target", each["source"]) for each in entries}


def dangling(compose: Compose) -> Iterator[str]:
    """Return what `docker compose config` misses: undefined and unused names."""
    used: dict[str, set[str]] = {"secrets": set(), "configs": set(), "volumes": set(), "networks": {"default"}}
    for name, service in compose["services"].items():
        used["secrets"] |= mounted(service, "secrets").keys()
        used["configs"] |= mounted(service, "configs").keys()
        used["volumes"] |= {volume.partition(":")[0] for volume in service.get("volumes", [])}
        used["networks"] |= set(service.get("networks", []))
        for other, how in service.get("depends_on", {}).items():
            if other not in compose["services"]:
                yield f"{name} depends on {other}"
            elif how["condition"] == "service_healthy" and "healthcheck" not in compose["services"][other]:
                yield f"{name} waits for the health of {other}, which has no check"
    for kind, names in used.items():
        declared = set(compose.get(kind, {})) | ({"default"} if kind == "networks" else set())
        yield from (f"{kind}: {name}" for name in names ^ declared)


def cyclic(compose: Compose) -> bool:
    waiting = {name: set(service.get("depends_on", {})) for name, service in compose["services"].items()}
    while ready := [name for name, others in waiting.items() if not others]:
        waiting = {name: others - set(ready) for name, others in waiting.items() if name not in ready}
    return bool(waiting)


def unready(compose: Compose) -> list[str]:
    """Return services without a health check that do not end, or that do not wait for their dependencies."""
    ends = {
        other
        for service in compose["services"].values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    hasty = [
        name
        for name, service in compose["services"].items()
        if any(how["condition"] == "service_started" for how in service.get("depends_on", {}).values())
    ]
    silent = [name for name, service in compose["services"].items() if "healthcheck" not in service]
    return sorted({*hasty, *silent} - ends)


def open_ports(compose: Compose) -> list[str]:
    """Return ports published beyond loopback, and services on the host's network."""
    return [
        f"{name}: {port}"
        for name, service in compose["services"].items()
        for port in [
            *service.get("ports", []),
            *[service[key] for key in ("network_mode", "privileged") if key in service],
        ]
        if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", str(port))
    ]


def unpinned(compose: Compose) -> list[str]:
    return [
        service["image"]
        for service in compose["services"].values()
        if not re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9]+)?", service["image"])
    ]


def literal_secrets(compose: Compose) -> Iterator[str]:
    """Return secrets in plain text: in a variable, in a URL, or next to the declaration of a secret."""
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable) and not str(value).startswith("/run/secrets/"):
                yield f"{name}: {variable}"
    yield from re.findall(r"://[^/\s:@]*:[^/\s@]+@", json.dumps(compose))
    yield from (f"secret {name}" for name, secret in compose["secrets"].items() if set(secret) != {"file"})


def variables(compose: Compose) -> set[str]:
    """Return every variable of a service, from its environment or from a secret that the entry point reads."""
    named = {name for service in compose["services"].values() for name in service.get("environment", {})}
    secrets = {target for name in OURS for target in mounted(compose["services"][name], "secrets").values()}
    return named | {name for name in secrets if name[:1].isupper()}


CHECKS: list[Callable[[Compose], object]] = [
    invalid,
    dangling,
    cyclic,
    unready,
    open_ports,
    unpinned,
    literal_secrets,
    lambda compose: unknown(variables(compose)),
]


def found(compose: Compose) -> list[str]:
    """Return the findings of all checks."""
    results = [check(compose) for check in CHECKS]
    return [str(each) for result in results for each in ([result] if result is True else result or [])]  # type: ignore[attr-defined]


def test_compose_file_passes_all_checks() -> None:
    assert found(COMPOSE) == []


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("services.prefect.helthcheck", {}, "helthcheck"),
        ("services.worker.depends_on.prefect.condition", "service_well", "service_well"),
        ("services.worker.depends_on.prefect.condition", "service_started", "worker"),
        ("services.worker.depends_on.minio", {"condition": "service_healthy"}, "minio"),
        ("services.postgres.depends_on.worker", {"condition": "service_healthy"}, "True"),
        ("services.postgres.healthcheck", None, "postgres"),
        ("services.s3.secrets", ["s3_acounts"], "s3_acounts"),
        ("services.mlflow.volumes", ["runs:/runs"], "runs"),
        ("services.prefect.ports", ["4200:4200"], "4200"),
        ("services.ray-head.ports", ["0.0.0.0:8265:8265"], "8265"),
        ("services.ray-worker.network_mode", "host", "host"),
        ("services.postgres.image", "postgres:latest", "latest"),
        ("services.postgres.image", "postgres", "postgres"),
        ("services.postgres.environment.POSTGRES_PASSWORD", "hunter2", "POSTGRES_PASSWORD"),
        ("services.worker.environment.MLFLOW_TRACKING_URI", "http://olmo:pw@mlflow:5000", "olmo:pw"),
        ("services.worker.environment.RAY_AUTH_MOOD", "token", "RAY_AUTH_MOOD"),
        ("secrets.ray_token", {"content": "1234"}, "ray_token"),
    ],
)
def test_error_in_compose_file_is_found(where: str, value: object, message: str) -> None:
    broken = copy.deepcopy(COMPOSE)
    *path, last = where.split(".")
    at = broken
    for key in path:
        at = at.setdefault(key, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    assert any(message in each for each in found(broken)), found(broken)


def test_services_without_password_are_behind_their_gateway() -> None:
    assert COMPOSE["networks"]["objects"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "objects" in service.get("networks", [])} == {
        "seaweedfs",
        "s3",
    }
    assert SERVICES["seaweedfs"]["networks"] == ["objects"]
    assert SERVICES["postgres"]["networks"] == ["storage"]


def test_every_server_requires_password_or_token() -> None:
    assert "PREFECT_SERVER_API_AUTH_STRING" in mounted(SERVICES["prefect"], "secrets").values()
    assert "MLFLOW_AUTH_ADMIN_PASSWORD" in mounted(SERVICES["mlflow"], "secrets").values()
    assert "--app-name=basic-auth" in SERVICES["mlflow"]["command"]
    assert "-config=/run/secrets/s3_accounts" in SERVICES["s3"]["command"]
    for name in ("ray-head", "ray-worker", "worker"):
        assert SERVICES[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert SERVICES[name]["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert "ray_token" in mounted(SERVICES[name], "secrets")


def test_own_containers_have_no_privileges() -> None:
    for name in OURS:
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in SERVICES[name]["security_opt"]


def test_published_ports_are_those_of_the_servers() -> None:
    default = {"ray-head": "8265", "s3": "8333"}  # of `ray start --dashboard-port` and `weed s3 -port`
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            _, outside, inside = port.split(":")
            asked = " ".join(service["command"]).replace("=", " ")
            assert outside == inside == (default.get(name) or re.findall(r"--port (\d+)", asked)[0])


def test_commands_are_parsed_by_their_programs() -> None:
    """The program itself parses its arguments; nothing is started."""
    from mlflow.cli import cli as mlflow
    from prefect.cli._app import _app as prefect
    from ray.scripts.scripts import cli as ray

    parsed = []
    for name in sorted(OURS - {"bucket"}):
        command = SERVICES[name]["command"]
        parts = command[2].replace("exec ", "").split(" && ") if command[:2] == ["sh", "-c"] else [shlex.join(command)]
        for program, *words in map(shlex.split, parts):
            if program == "prefect":
                prefect.parse_args(words, exit_on_error=False, print_error=False)
            else:
                group = {"ray": ray, "mlflow": mlflow}[program]
                group.commands[words[0]].make_context(words[0], words[1:])
            parsed.append(f"{program} {words[0]}")
    assert sorted(parsed) == [
        "mlflow server",
        "prefect server",
        "prefect worker",
        "ray start",
        "ray start",
        "ray start",
    ]


def test_profile_names_the_services() -> None:
    worker = SERVICES["worker"]["environment"]
    assert PROFILE.prefect == worker["PREFECT_API_URL"]
    assert PROFILE.mlflow == worker["MLFLOW_TRACKING_URI"]
    assert PROFILE.mlflow is not None and PROFILE.prefect is not None
    for address in (PROFILE.prefect, PROFILE.mlflow, worker["AWS_ENDPOINT_URL_S3"]):
        url = urlsplit(address)
        assert url.hostname is not None
        assert f"127.0.0.1:{url.port}:{url.port}" in SERVICES[url.hostname]["ports"]
        assert f"{url.hostname}:{url.port}" in SERVICES["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"] or (
            url.hostname != "mlflow"
        )
    bucket = urlsplit(PROFILE.store_root)
    assert bucket.scheme == "s3" and f"makedirs('{bucket.hostname}'" in SERVICES["bucket"]["command"][-1]
    assert mounted(SERVICES["worker"], "configs") == {"profile": "/etc/olmo/profile.yaml"}


def test_workers_have_the_cpus_of_the_profile() -> None:
    """Three seeds in parallel or one run, and a logical CPU for a background step (`tasks/workers/pool.py`)."""
    offered = int(re.findall(r"--num-cpus=(\d+)", " ".join(SERVICES["ray-worker"]["command"]))[0])
    single, seeds = PROFILE.training.single, PROFILE.training.seeds
    assert offered == max(single.count * single.cpus, 3 * seeds.count * seeds.cpus) + 1
    assert all("--num-cpus=0" in " ".join(SERVICES[name]["command"]) for name in ("ray-head", "worker"))


def test_secrets_match_the_compose_file(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert make_secrets(folder) == sorted(Path(each["file"]).name for each in COMPOSE["secrets"].values())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}
    (account,) = json.loads((folder / "s3_accounts").read_text())["identities"]
    (keys,) = account["credentials"]
    assert f"= {keys['accessKey']}\n" in (folder / "aws_credentials").read_text()
    assert f"= {keys['secretKey']}\n" in (folder / "aws_credentials").read_text()


def test_secrets_are_random_and_never_overwritten(tmp_path: Path) -> None:
    make_secrets(tmp_path / "one")
    make_secrets(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_text() != (tmp_path / "two" / path.name).read_text()
    with pytest.raises(FileExistsError):
        make_secrets(tmp_path / "one")
