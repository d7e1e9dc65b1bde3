"""Whether everything a profile names is there and lets us in: disk, ports, versions, addresses, tokens.

Each finding is fine, or one line that says what is wrong and what to do. Nothing is started and nothing is left behind.
"""

import base64
import importlib.metadata
import json
import os
import shutil
import socket
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from infra.ports import HOST
from infra.profile import Profile
from infra.schema import SchemaError, databases
from infra.services.errors import ServiceError
from infra.services.group import connected, services_up, taken_ports, unhealthy
from olmo_core.artifact.objects import open_objects

SPARE_BYTES = 500_000_000  # beside artifacts: databases, logs, temporary files; `tiny` leaves 20 MB
CHECKSUMS = "AWS_REQUEST_CHECKSUM_CALCULATION"  # of botocore since 2025, which older stores answer with an error
WAIT_SECONDS = 30  # a busy machine takes seconds to answer


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was seen, and what to do where it is not fine."""

    what: str
    seen: str
    remedy: str = ""

    @property
    def fine(self) -> bool:
        """Whether nothing has to be done."""
        return not self.remedy


class _WrongError(Exception):
    """Something is not fine: what was seen, and the remedy."""


Check = Callable[[Profile], str]


def examine(profile: Profile, needed: int = 0) -> Iterator[Finding]:
    """Yield a finding for everything the profile names, servers of `olmo up` included where they are up.

    Args:
        profile: what is looked at.
        needed: bytes that are about to be written.
    """
    found = connected(profile)
    checks: list[tuple[str, Check]] = [("disk", partial(_disk, needed=needed)), ("ports", _ports), ("records", _schema)]
    checks += [("artifacts", _artifacts)]
    checks += [("compiler", _compiler)] if _compiles_here(found) else []
    checks += [("prefect", _prefect)] if found.prefect is not None else []
    checks += [("mlflow", _mlflow)] if (found.mlflow or "").startswith("http") else []
    checks += [("ray", _ray)] if found.ray.address is not None else []
    checks += [("hub", _hub)] if found.hub.endpoint is not None else []
    for what, check in checks:
        yield _finding(what, check, found)


def room(profile: Profile, needed: int) -> Finding:
    """Return whether so many bytes fit in."""
    return _finding("disk", partial(_disk, needed=needed), profile)


def before_a_release(profile: Profile) -> Iterator[Finding]:
    """Yield a finding for what has to be right before a release starts: databases, and every address it calls."""
    yield _finding("records", _schema, profile)
    if profile.prefect is not None:
        yield _finding("prefect", _prefect, profile)
    if (profile.mlflow or "").startswith("http"):
        yield _finding("mlflow", _mlflow, profile)
    if "://" in profile.store_root:
        yield _finding("artifacts", _artifacts, profile)
    if profile.hub.endpoint is not None:
        yield _finding("hub", _hub, profile)


def _finding(what: str, check: Check, profile: Profile) -> Finding:
    try:
        return Finding(what, check(profile))
    except _WrongError as error:
        seen, remedy = error.args
        return Finding(what, seen, remedy)


def _disk(profile: Profile, needed: int) -> str:
    """What an address such as `s3://` takes is not known here; home has to have room for the rest."""
    wanted = {profile.folder: SPARE_BYTES}
    if "://" not in profile.store_root:
        wanted[Path(profile.store_root)] = needed + SPARE_BYTES
    seen = []
    for folder, size in wanted.items():
        there = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(there).free
        seen.append(f"{free / 1e9:.1f} GB free in {there}")
        if not os.access(there, os.W_OK):
            raise _WrongError(f"{there} cannot be written", "give another home: OLMO_HOME, or `home` in the profile")
        if free < size:
            raise _WrongError(
                seen[-1],
                f"{size / 1e9:.1f} GB have to fit in, as far as can be said before; make room, or give another place: "
                "OLMO_HOME, `home` or `artifacts` in the profile",
            )
    return ", ".join(dict.fromkeys(seen))


def _ports(profile: Profile) -> str:
    if services_up(profile):
        try:
            found = unhealthy(profile)
        except ServiceError as error:
            raise _WrongError(str(error), "only then can they be asked") from error
        if found:
            raise _WrongError("; ".join(found), "stop what is in its way, or `olmo down` and `olmo up`")
        return "services are up"
    if taken := taken_ports(profile):
        raise _WrongError(
            ", ".join(taken),
            "stop what uses them, or give others in the profile's `services`; only `olmo up` needs them",
        )
    return "free for `olmo up`"


def _schema(profile: Profile) -> str:
    """Databases of a PostgreSQL are looked at by the servers that keep them."""
    try:
        seen = [found for each in databases(profile.folder) if (found := each.check())]
    except SchemaError as error:
        raise _WrongError(*error.args) from error
    return ", ".join(seen) or "none yet"


def _artifacts(profile: Profile) -> str:
    """Write, write again where that has to fail, read, delete: what leases and records rest on."""
    root, key = profile.store_root, f"doctor/{uuid.uuid4().hex}"
    if "://" not in root and not Path(root).exists():
        return f"{root} will be made"
    try:
        objects = open_objects(root)
        objects.create(key, b"1")
        try:
            objects.create(key, b"2")
        except FileExistsError:
            pass
        else:
            raise _WrongError(
                f"{root} lets a file be created twice", "take a store that keeps to `If-None-Match: *`; leases need it"
            )
        read = objects.read(key)
        objects.delete(key)
    except OSError as error:
        raise _WrongError(f"{root}{_file_system(root)}: {_first_line(error)}", _remedy(root)) from error
    if read != b"1":
        raise _WrongError(f"{root} does not return what was written", "take another store")
    return f"{root} can be written"


def _file_system(root: str) -> str:
    """Return the kind of file system a folder is on, in parentheses; '' for an address."""
    if "://" in root:
        return ""
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    folder = Path(root).resolve()
    return next((f" ({mounts[each]})" for each in (folder, *folder.parents) if each in mounts), "")


def _remedy(root: str) -> str:
    """Return what to do about a store that cannot be written."""
    if "://" not in root:
        return "take a folder on another file system: OLMO_HOME, or `home` or `artifacts` in the profile"
    if root.startswith("s3://") and _takes_without_checksums(root):
        return f"set {CHECKSUMS}=when_required: this store refuses the checksums that newer S3 clients send"
    return "check address, bucket and credentials (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"


def _takes_without_checksums(root: str) -> bool:
    """Whether a store takes an object without a checksum, having refused one with it."""
    from s3fs import S3FileSystem

    if CHECKSUMS in os.environ:
        return False
    os.environ[CHECKSUMS] = "when_required"
    S3FileSystem.clear_instance_cache()
    try:
        objects, key = open_objects(root), f"doctor/{uuid.uuid4().hex}"
        objects.write(key, b"1")
        with suppress(OSError):
            objects.delete(key)
        return True
    except OSError:
        return False
    finally:
        del os.environ[CHECKSUMS]
        S3FileSystem.clear_instance_cache()


def _compiles_here(profile: Profile) -> bool:
    workers = (profile.training.single, profile.training.seeds)
    here = profile.ray.address is None or profile.ray.address.startswith((HOST, "localhost"))
    return here and any(each.placement.compile is not False for each in workers)


def _compiler(_: Profile) -> str:
    from olmo_core.train.compiler import compiler_trouble

    if trouble := compiler_trouble():
        seen, _semicolon, remedy = trouble.rpartition("; ")
        raise _WrongError(f"training goes without torch.compile: {seen}", remedy)
    return "compiles, and what it compiled can be loaded"


def _prefect(profile: Profile) -> str:
    user = os.environ.get("PREFECT_API_AUTH_STRING", "")
    seen = _get("PREFECT_API_AUTH_STRING", f"{profile.prefect}/admin/version", user)
    if _minor(str(seen)) != _minor(_version("prefect")):
        raise _WrongError(
            f"{profile.prefect} runs Prefect {seen}, this is {_version('prefect')}", "run the same version on both"
        )
    return f"{profile.prefect}, Prefect {seen}"


def _mlflow(profile: Profile) -> str:
    user = ":".join(os.environ.get(f"MLFLOW_TRACKING_{each}", "") for each in ("USERNAME", "PASSWORD"))
    _get(
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        f"{profile.mlflow}/api/2.0/mlflow/experiments/search?max_results=1",
        user.strip(":"),
    )
    return str(profile.mlflow)


def _ray(profile: Profile) -> str:
    address = str(profile.ray.address)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return "the cluster of this node"
    try:
        with socket.create_connection((host, int(port)), WAIT_SECONDS):
            return address
    except (OSError, ValueError) as error:
        raise _WrongError(f"{address}: {_first_line(error)}", "start the cluster, or correct ray.address") from error


def _hub(profile: Profile) -> str:
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    endpoint = str(profile.hub.endpoint)
    if get_token() is None:
        raise _WrongError(f"no token for {endpoint}", "set HF_TOKEN, or HF_TOKEN_PATH to a file that holds it")
    try:
        name = HfApi(endpoint=endpoint).whoami()["name"]
    except HfHubHTTPError as error:
        raise _WrongError(
            f"{endpoint} refuses the token ({_first_line(error)})", "set HF_TOKEN to a token that may write"
        ) from error
    except Exception as error:  # each HTTP library has errors of its own for an address that does not answer
        raise _WrongError(f"{endpoint}: {_first_line(error)}", "check hub.endpoint in the profile") from error
    return f"{endpoint} as {name}"


def _get(variables: str, url: str, user: str) -> Any:
    """Return the JSON at an address that wants a user and a password."""
    headers = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"} if user else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=WAIT_SECONDS) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            said = "refuses the password" if user else "wants a password"
            raise _WrongError(
                f"{url} {said}", f"set {variables}; `olmo up` prints the file to read them from"
            ) from None
        raise _WrongError(f"{url} answers {error.code}", "look into the server's log") from None
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise _WrongError(
            f"{url}: {_first_line(error)}", "start the server, or correct its address in the profile"
        ) from None


def _first_line(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return (str(reason).strip().splitlines() or [type(error).__name__])[0]


def _version(package: str) -> str:
    return importlib.metadata.version(package)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
