"""The servers of a home folder as one thing: brought up and healthy, found by those who need them, taken down.

What each server is, is said by `programs`; that they stay alive is left to `supervisor`.
"""

import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.schema import SchemaError, databases
from infra.services.errors import ServiceError
from infra.services.programs import HOST, Service, client_settings, ray_folder, server_environment, services
from infra.services.supervisor import Group
from infra.services.tokens import Tokens, as_exports, tokens, write_private
from olmo_core.recipe.profile import Profile

HEALTHY_SECONDS = 120.0  # a fresh PostgreSQL is migrated twice first
FOLDER = "services"


Tell = Callable[[str, float], None]


def bring_up(profile: Profile, source: str, recipes: Sequence[str], tell: Tell) -> list[Service]:
    """Start the servers of a profile, register the deployments of `recipes`; return when all are healthy.

    Where they are up already, the deployments are registered once more, and what is down is waited for.

    Args:
        profile: says which servers, and on which ports.
        source: name or file the profile was read from, for the deployments.
        recipes: built-in recipes or paths of YAML files.
        tell: called with the name of each server and its seconds, when it is healthy.

    Raises:
        ServiceError: a port is taken, a database is of another version, or a server does not become healthy; names it,
            its log and the remedy.
    """
    group, secret = _group(profile), _tokens(profile)
    try:
        found = services(profile, secret, source, recipes)
    except RuntimeError as error:
        raise ServiceError(str(error)) from error
    if not group.running:
        _refuse_other_schemas(profile)
        _refuse_taken_ports(profile)
        ray_folder(profile).mkdir(mode=0o700, exist_ok=True)
        _link_ray_logs(profile, group)
        group.start([each.program for each in found], server_environment(profile, secret))
    write_private(environment_file(profile), as_exports(client_settings(profile, secret)))
    began = time.monotonic()
    for wave in sorted({each.wave for each in found}):
        due = [each for each in found if each.wave == wave]
        for each in due:
            group.launch(each.program.name)
        _await(group, due, began, tell)
    return found


def take_down(profile: Profile) -> bool:
    """Stop every server of a profile; return whether any was up."""
    group = _group(profile)
    if not group.running:
        return False
    group.stop()
    shutil.rmtree(ray_folder(profile), ignore_errors=True)
    _ray_logs(group).unlink(missing_ok=True)
    environment_file(profile).unlink(missing_ok=True)
    return True


def connected(profile: Profile) -> Profile:
    """Return the profile with the addresses of the servers that are up below its home; as it is where none are.

    What clients need, tokens among it, is then in the environment of this process.
    """
    if not _group(profile).running:
        return profile
    settings = client_settings(profile, _tokens(profile))
    os.environ.update(settings)
    ray = profile.ray.model_copy(update={"address": profile.ray.address or f"{HOST}:{profile.services.ray_port}"})
    # Without PostgreSQL, MLflow's server and this process share one SQLite file, so there is nothing to redirect.
    tracking = settings["MLFLOW_TRACKING_URI"] if profile.services.postgres_port is not None else None
    return profile.model_copy(
        update={
            "prefect": profile.prefect or settings["PREFECT_API_URL"],
            "mlflow": profile.mlflow or tracking,
            "ray": ray,
        }
    )


def services_up(profile: Profile) -> bool:
    """Whether the servers of a profile were started and not stopped since."""
    return _group(profile).running


def states(profile: Profile) -> dict[str, str]:
    """Return the state of every server of a profile by name; none where they are not up."""
    return {name: state.name for name, state in _group(profile).states().items()}


def environment_file(profile: Profile) -> Path:
    """Return the file a shell reads to become a client: `. FILE`."""
    return profile.folder / FOLDER / "environment"


def _group(profile: Profile) -> Group:
    return Group(profile.folder / FOLDER)


def _tokens(profile: Profile) -> Tokens:
    return tokens(profile.folder / FOLDER / "tokens")


def _ray_logs(group: Group) -> Path:
    return group.logs / "ray-cluster"


def _link_ray_logs(profile: Profile, group: Group) -> None:
    """Let the logs of Ray's own processes, which lie beside its sockets, be found where all others are."""
    group.logs.mkdir(parents=True, exist_ok=True)
    _ray_logs(group).unlink(missing_ok=True)
    _ray_logs(group).symlink_to(ray_folder(profile) / "ray" / "session_latest" / "logs")


def _await(group: Group, due: Sequence[Service], began: float, tell: Tell) -> None:
    """Return when these servers are healthy."""
    waiting = list(due)
    deadline = time.monotonic() + HEALTHY_SECONDS
    while waiting:
        states = group.states()
        for each in list(waiting):
            state = states.get(each.program.name)
            if state is None or state.name == "FATAL":
                raise ServiceError(_said(group, each, "does not start"))
            if state.name == "EXITED" and state.exit_code != 0:
                raise ServiceError(_said(group, each, f"ended with code {state.exit_code}"))
            ready = state.done if each.program.once else state.name == "RUNNING"
            if ready and (each.healthy is None or each.healthy()):
                waiting.remove(each)
                tell(each.program.name, time.monotonic() - began)
        if waiting and time.monotonic() > deadline:
            raise ServiceError(_said(group, waiting[0], f"is not healthy after {HEALTHY_SECONDS:.0f} s"))
        time.sleep(0.1)


def _said(group: Group, service: Service, what: str) -> str:
    log = group.log(service.program.name)
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f"{service.program.name} {what}: {lines[-1] if lines else 'it said nothing'}; all it said is in {log}"


def taken_ports(profile: Profile) -> dict[str, int]:
    """Return the ports `olmo up` would need that somebody listens on, by their fields in the profile's `services`."""
    ports = profile.services.model_dump()
    return {name: port for name, port in ports.items() if port is not None and _taken(port)}


def _refuse_taken_ports(profile: Profile) -> None:
    for name, port in taken_ports(profile).items():
        raise ServiceError(
            f"port {port} (services.{name} of the profile) is in use; stop what uses it, or give another one"
        )


def _refuse_other_schemas(profile: Profile) -> None:
    """Look at SQLite files; databases of PostgreSQL are looked at when that answers."""
    try:
        for each in databases(profile.folder) if profile.services.postgres_port is None else ():
            each.check()
    except SchemaError as error:
        raise ServiceError("; ".join(error.args)) from error


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: the past owner's state is no owner
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
        return False
