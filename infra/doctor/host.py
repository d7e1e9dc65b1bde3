"""Checks of this machine: disk, ports, databases, compiler."""

import os
import shutil
from pathlib import Path

from infra.doctor.finding import WrongError
from infra.ports import HOST
from infra.profile import Profile
from infra.schema import SchemaError, databases
from infra.services.errors import ServiceError
from infra.services.group import services_up, taken_ports, unhealthy

SPARE_BYTES = 500_000_000  # besides artifacts: databases, logs, temporary files; `tiny` leaves 20 MB


def disk(profile: Profile, needed: int) -> str:
    """Check the disk space for home, and for artifacts unless they are at an address, whose space is unknown."""
    wanted = {profile.folder: SPARE_BYTES}
    if "://" not in profile.store_root:
        wanted[Path(profile.store_root)] = needed + SPARE_BYTES
    seen = []
    for folder, size in wanted.items():
        there = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(there).free
        seen.append(f"{free / 1e9:.1f} GB free in {there}")
        if not os.access(there, os.W_OK):
            raise WrongError(f"{there} cannot be written", "set another home: OLMO_HOME, or `home` in the profile")
        if free < size:
            raise WrongError(
                seen[-1],
                f"{size / 1e9:.1f} GB are needed, by an estimate; free some space, or set another place: "
                "OLMO_HOME, `home` or `artifacts` in the profile",
            )
    return ", ".join(dict.fromkeys(seen))


def ports(profile: Profile) -> str:
    """Check that the services of `olmo up` are healthy, or that their ports are free."""
    if services_up(profile):
        try:
            found = unhealthy(profile)
        except ServiceError as error:
            raise WrongError(str(error), "run `olmo down`, then `olmo up`, and check again") from error
        if found:
            raise WrongError("; ".join(found), "stop whatever blocks it, or run `olmo down` and `olmo up`")
        return "services are up"
    if taken := taken_ports(profile):
        raise WrongError(
            ", ".join(taken),
            "stop the processes that use them, or set others in the profile's `services`; only `olmo up` needs them",
        )
    return "free for `olmo up`"


def schema(profile: Profile) -> str:
    """Check the versions of local databases; servers check those in PostgreSQL themselves."""
    try:
        seen = [found for each in databases(profile.folder) if (found := each.check())]
    except SchemaError as error:
        raise WrongError(*error.args) from error
    return ", ".join(seen) or "none yet"


def compiles_here(profile: Profile) -> bool:
    """Return whether a run of the profile may compile on this machine."""
    workers = (profile.training.single, profile.training.seeds)
    here = profile.ray.address is None or profile.ray.address.startswith((HOST, "localhost"))
    return here and any(each.placement.compile is not False for each in workers)


def compiler(_: Profile) -> str:
    """Check that torch.compile works."""
    from olmo_core.train.compiler import compiler_trouble

    if trouble := compiler_trouble():
        seen, _semicolon, remedy = trouble.rpartition("; ")
        raise WrongError(f"training runs without torch.compile: {seen}", remedy)
    return "compiles, and the result can be loaded"
