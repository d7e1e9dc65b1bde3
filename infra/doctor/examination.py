"""All checks of the doctor, in order. They start nothing and leave nothing behind."""

from collections.abc import Iterator
from functools import partial

from infra.doctor.artifact_store import artifacts
from infra.doctor.finding import Check, Finding, finding
from infra.doctor.host import compiler, compiles_here, disk, ports, schema
from infra.doctor.servers import hub, mlflow, prefect, ray
from infra.profile import Profile
from infra.services.group import connected


def examine(profile: Profile, needed: int = 0) -> Iterator[Finding]:
    """Yield a finding for everything the profile names, including servers of `olmo up` that are up.

    Args:
        profile: profile to check.
        needed: bytes about to be written.
    """
    found = connected(profile)
    checks: list[tuple[str, Check]] = [("disk", partial(disk, needed=needed)), ("ports", ports), ("records", schema)]
    checks += [("artifacts", artifacts)]
    checks += [("compiler", compiler)] if compiles_here(found) else []
    checks += [("prefect", prefect)] if found.prefect is not None else []
    checks += [("mlflow", mlflow)] if (found.mlflow or "").startswith("http") else []
    checks += [("ray", ray)] if found.ray.address is not None else []
    checks += [("hub", hub)] if found.hub.endpoint is not None else []
    for what, check in checks:
        yield finding(what, check, found)


def room(profile: Profile, needed: int) -> Finding:
    """Check that this number of bytes fits on the disk."""
    return finding("disk", partial(disk, needed=needed), profile)


def before_a_release(profile: Profile) -> Iterator[Finding]:
    """Yield a finding for everything a release needs before it starts: databases and the servers it calls."""
    yield finding("records", schema, profile)
    if profile.prefect is not None:
        yield finding("prefect", prefect, profile)
    if (profile.mlflow or "").startswith("http"):
        yield finding("mlflow", mlflow, profile)
    if "://" in profile.store_root:
        yield finding("artifacts", artifacts, profile)
    if profile.hub.endpoint is not None:
        yield finding("hub", hub, profile)
