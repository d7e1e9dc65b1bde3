"""Check of the artifact store: whether it supports what leases and records need."""

import os
import uuid
from contextlib import suppress
from pathlib import Path

import psutil

from infra.doctor.finding import WrongError, first_line
from infra.profile import Profile
from olmo_core.artifact.objects import open_objects

CHECKSUMS = "AWS_REQUEST_CHECKSUM_CALCULATION"  # setting of botocore since 2025; older stores refuse its default


def artifacts(profile: Profile) -> str:
    """Check that files can be written, created only once, read and deleted, as leases and records need."""
    root, key = profile.store_root, f"doctor/{uuid.uuid4().hex}"
    if "://" not in root and not Path(root).exists():
        return f"{root} will be created"
    try:
        objects = open_objects(root)
        objects.create(key, b"1")
        try:
            objects.create(key, b"2")
        except FileExistsError:
            pass
        else:
            raise WrongError(
                f"{root} lets a file be created twice", "use a store that honours `If-None-Match: *`; leases need it"
            )
        read = objects.read(key)
        objects.delete(key)
    except OSError as error:
        raise WrongError(f"{root}{_file_system(root)}: {first_line(error)}", _remedy(root)) from error
    if read != b"1":
        raise WrongError(f"{root} does not return what was written", "use another store")
    return f"{root} is writable"


def _file_system(root: str) -> str:
    """Return the type of a folder's file system, in parentheses; '' for an address."""
    if "://" in root:
        return ""
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    folder = Path(root).resolve()
    return next((f" ({mounts[each]})" for each in (folder, *folder.parents) if each in mounts), "")


def _remedy(root: str) -> str:
    """Return the remedy for a store that cannot be written."""
    if "://" not in root:
        return "use a folder on another file system: OLMO_HOME, or `home` or `artifacts` in the profile"
    if root.startswith("s3://") and _takes_without_checksums(root):
        return f"set {CHECKSUMS}=when_required: this store refuses the checksums that newer S3 clients send"
    return "check address, bucket and credentials (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"


def _takes_without_checksums(root: str) -> bool:
    """Return whether a store that refused an object with a checksum accepts one without."""
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
