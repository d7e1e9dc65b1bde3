"""What the doctor looks at on this machine: disk, ports, databases, compiler."""

import os
import shutil
from pathlib import Path

from infra.doctor.finding import WrongError
from infra.ports import HOST
from infra.profile import Profile
from infra.schema import SchemaError, databases
from infra.services.errors import ServiceError
from infra.services.group import services_up, taken_ports, unhealthy

SPARE_BYTES = 500_000_000  # beside artifacts: databases, logs, temporary files; `tiny` leaves 20 MB


def disk(profile: Profile, needed: int) -> str:
    """Check the room for home, and for artifacts where they are on a disk; what an address takes is not known here."""
    wanted = {profile.folder: SPARE_BYTES}
    if "://" not in profile.store_root:
        wanted[Path(profile.store_root)] = needed + SPARE_BYTES
    seen = []
    for folder, size in wanted.items():
        there = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(there).free
        seen.append(f"{free / 1e9:.1f} GB free in {there}")
        if not os.access(there, os.W_OK):
            raise WrongError(f"{there} cannot be written", "give another home: OLMO_HOME, or `home` in the profile")
        if free < size:
            raise WrongError(
                seen[-1],
                f"{size / 1e9:.1f} GB have to fit in, as far as can be said before; make room, or give another place: "
                "OLMO_HOME, `home` or `artifacts` in the profile",
            )
    return ", ".join(dict.fromkeys(seen))


def ports(profile: Profile) -> str:
    """Check that the services of `olmo up` are healthy, or that their ports are free."""
    if services_up(profile):
        try:
            found = unhealthy(profile)
        except ServiceError as error:
            raise WrongError(str(error), "only then can they be asked") from error
        if found:
            raise WrongError("; ".join(found), "stop what is in its way, or `olmo down` and `olmo up`")
        return "services are up"
    if taken := taken_ports(profile):
        raise WrongError(
            ", ".join(taken),
            "stop what uses them, or give others in the profile's `services`; only `olmo up` needs them",
        )
    return "free for `olmo up`"


def schema(profile: Profile) -> str:
    """Check the versions of local databases; servers check those in a PostgreSQL."""
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
        raise WrongError(f"training goes without torch.compile: {seen}", remedy)
    return "compiles, and what it compiled can be loaded"
