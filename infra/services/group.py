"""The servers of a home folder as one group: bring them up, connect to them, check them and take them down.

`programs` defines the servers; `supervisor` keeps them alive.
"""

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from infra.environment import RAY_CLUSTER, SERVERS, bypass_proxy_on_loopback, unset
from infra.patience import Lines, Show
from infra.ports import HOST, holder
from infra.profile import Profile
from infra.schema import SchemaError, databases
from infra.services.errors import ServiceError
from infra.services.health import Report, await_health, trouble, works
from infra.services.programs import Service, client_settings, ray_folder, server_environment, services
from infra.services.supervisor import Group
from infra.services.tokens import Tokens, as_exports, tokens, write_private

FOLDER = "services"


def bring_up(
    profile: Profile, source: str, recipes: Sequence[str], report: Report, show: Show | None = None
) -> list[Service]:
    """Start the servers of a profile and register the deployments of `recipes`; return when all are healthy.

    If they are up already, register the deployments again and wait for servers that are down.

    Args:
        profile: which servers to start, and on which ports.
        source: name or file of the profile, for the deployments.
        recipes: built-in recipes or paths of YAML files.
        report: called with the name of each server and the seconds it took, when it is healthy.
        show: called with the server it waits for, about every second; by default, logs a line now and then.

    Raises:
        ServiceError: a port is in use, a database has another version, or a server does not become healthy; names it,
            its log and the remedy.
    """
    bypass_proxy_on_loopback()
    unset(*SERVERS, *RAY_CLUSTER)
    show = show or Lines()
    group, secret = _group(profile), _tokens(profile)
    _require_answer(group)
    try:
        found = services(profile, secret, source, recipes)
    except RuntimeError as error:
        raise ServiceError(str(error)) from error
    if not group.running:
        _refuse_other_schemas(profile)
        _refuse_taken_ports(profile)
        ray_folder(profile).mkdir(mode=0o700, exist_ok=True)
        _link_ray_logs(profile, group)
        group.start([each.program for each in found], server_environment(profile, secret), show)
    write_private(environment_file(profile), as_exports(client_settings(profile, secret)))
    for wave in sorted({each.wave for each in found}):
        due = [each for each in found if each.wave == wave]
        for each in due:
            group.launch(each.program.name)
        await_health(group, due, show, report)
    await_health(group, found, show)  # one may have ended while the others were starting
    return found


def take_down(profile: Profile, show: Show | None = None) -> bool:
    """Stop all servers of a profile; return whether any was up."""
    group = _group(profile)
    if not group.running:
        return False
    group.stop(show)
    shutil.rmtree(ray_folder(profile), ignore_errors=True)
    _ray_logs(group).unlink(missing_ok=True)
    environment_file(profile).unlink(missing_ok=True)
    return True


def connected(profile: Profile) -> Profile:
    """Return the profile with the addresses of the servers that are up below its home; unchanged if there are none.

    Also set what their clients need, including tokens, in the environment of this process, instead of settings for
    other servers. Settings for an address in the profile that is not one of these servers do not change.
    """
    bypass_proxy_on_loopback()
    if not _group(profile).running:
        return profile
    settings = client_settings(profile, _tokens(profile))
    prefect, mlflow = settings["PREFECT_API_URL"], settings["MLFLOW_TRACKING_URI"]
    ray_address = f"{HOST}:{profile.services.ray_port}"
    for prefix, address, own, others in (
        ("PREFECT_", profile.prefect, prefect, ("PREFECT_",)),
        ("MLFLOW_", profile.mlflow, mlflow, ("MLFLOW_",)),
        ("RAY_", profile.ray.address, ray_address, RAY_CLUSTER),
    ):
        if address in (None, own):
            unset(*others)
            os.environ.update({name: value for name, value in settings.items() if name.startswith(prefix)})
    os.environ["OLMO_HOME"] = settings["OLMO_HOME"]
    ray = profile.ray.model_copy(update={"address": profile.ray.address or ray_address})
    # Without PostgreSQL, MLflow's server and this process share one SQLite file, so there is nothing to redirect.
    tracking = mlflow if profile.services.postgres_port is not None else None
    return profile.model_copy(
        update={
            "prefect": profile.prefect or prefect,
            "mlflow": profile.mlflow or tracking,
            "ray": ray,
        }
    )


def services_up(profile: Profile) -> bool:
    """Return whether the servers of a profile were started and not stopped since."""
    return _group(profile).running


def await_services(profile: Profile, show: Show | None = None) -> None:
    """Wait until all servers that `olmo up` started for a profile are healthy; return at once if there are none.

    Raises:
        ServiceError: one ends repeatedly, or makes no progress; names it, its log and the holder of its port.
    """
    group = _group(profile)
    if group.running:
        _require_answer(group)
        await_health(group, _started(profile), show or Lines())


def unhealthy(profile: Profile) -> list[str]:
    """Return a line on each server started by `olmo up` that is not healthy."""
    group = _group(profile)
    _require_answer(group)
    states = group.states()
    found = [(each, states.get(each.program.name)) for each in _started(profile)]
    return [trouble(group, each, state) for each, state in found if not works(each, state)]


def _started(profile: Profile) -> list[Service]:
    return [each for each in services(profile, _tokens(profile), profile.name, ()) if not each.program.once]


def _require_answer(group: Group) -> None:
    if group.running and not group.answers:
        raise ServiceError(
            f"the services of {group.folder} run, but the socket of their supervisord was removed, perhaps by a "
            "cleaner of temporary folders; `olmo down` ends them, `olmo up` starts them again"
        )


def states(profile: Profile) -> dict[str, str]:
    """Return the state of every server of a profile by name; {} if they are not up."""
    return {name: state.name for name, state in _group(profile).states().items()}


def environment_file(profile: Profile) -> Path:
    """Return the file that a shell sources to become a client: `. FILE`."""
    return profile.folder / FOLDER / "environment"


def _group(profile: Profile) -> Group:
    return Group(profile.folder / FOLDER)


def _tokens(profile: Profile) -> Tokens:
    return tokens(profile.folder / FOLDER / "tokens")


def _ray_logs(group: Group) -> Path:
    return group.logs / "ray-cluster"


def _link_ray_logs(profile: Profile, group: Group) -> None:
    """Link the logs of Ray's own processes, which are stored next to its sockets, into the folder of all logs."""
    group.logs.mkdir(parents=True, exist_ok=True)
    _ray_logs(group).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # some file systems have no links
        _ray_logs(group).symlink_to(ray_folder(profile) / "ray" / "session_latest" / "logs")


def taken_ports(profile: Profile) -> list[str]:
    """Return a line on each port that `olmo up` would need and another process listens on."""
    ports = {name: port for name, port in profile.services.model_dump().items() if port is not None}
    return [f"port {port} (services.{name}) is in use by {by}" for name, port in ports.items() if (by := holder(port))]


def _refuse_taken_ports(profile: Profile) -> None:
    for line in taken_ports(profile):
        raise ServiceError(f"{line}; stop it, or set another port in the profile")


def _refuse_other_schemas(profile: Profile) -> None:
    """Check SQLite files; databases of PostgreSQL are checked when it answers."""
    try:
        for each in databases(profile.folder) if profile.services.postgres_port is None else ():
            each.check()
    except SchemaError as error:
        raise ServiceError("; ".join(error.args)) from error
