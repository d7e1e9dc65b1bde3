"""Memory that this process may still allocate: the machine's free memory, or less if its control groups limit it.

A container sees the memory of the whole machine, but the kernel kills it if it exceeds the limit of its group.
"""

from collections.abc import Iterator
from pathlib import Path

import psutil

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# By version of control groups: the file with the limit, the file with the usage, and the field of `memory.stat` that
# counts cached file pages, which the kernel frees before it kills (Documentation/admin-guide/cgroup-v1/memory.rst,
# cgroup-v2.rst).
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_memory() -> int:
    """Return the free memory in bytes, at least one."""
    return max(1, min([int(psutil.virtual_memory().available), *_left(GROUPS, OWN)]))


def _left(groups: Path, own: Path) -> Iterator[int]:
    """Yield the free bytes of each control group of this process and of its ancestors; none without a limit."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return  # not Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, files = groups, _V2
        elif "memory" in controllers.split(","):
            root, files = groups / "memory", _V1
        else:
            continue
        # If a container sees its own group as the root, the path is the host's, and only the root exists.
        for part in (Path(path), *Path(path).parents):
            found = _of(root / part.relative_to("/"), *files)
            yield from () if found is None else (found,)


def _of(group: Path, limit: str, used: str, cached: str) -> int | None:
    try:
        allowed = int((group / limit).read_text())  # "max", a ValueError, without a limit
        taken = int((group / used).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return allowed - taken + int(stat.get(cached, 0))
