"""One owner at a time: each artifact has a log of numbered entries, each created exclusively.

The process that wrote the last entry is the owner. To take over, commit, release or set aside is always to create the
entry with the next number. If two processes try, one fails, so a superseded owner cannot commit; this needs neither
compare-and-swap nor a clock. Clocks only decide when another process may try to take over: at once if the owner's
process is known to have ended, else when its heartbeat has not changed for a time-to-live, measured by the observer's
own monotonic clock.

Entries are stored in `<folder>/lease/000001.json`, heartbeats in `<folder>/lease/heartbeat-<n>.json`.
"""

import contextlib
import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from olmo_core.artifact.objects import Objects

# Seconds without a heartbeat after which an owner on another machine counts as dead. Long, because work may hold the
# interpreter lock for a while and a superseded owner loses its work; a dead owner on this machine is noticed at once.
TTL = 90.0
_BEATS_PER_TTL = 6
_CREATE_TRIES = 3
_ENTRY = re.compile(r"(\d{6})\.json")

log = logging.getLogger(__name__)


class SupersededError(RuntimeError):
    """Another process took over the lease, so work done under it cannot be committed."""


class Owner(BaseModel):
    """A process that holds a lease."""

    model_config = ConfigDict(frozen=True)

    host: str = Field(description="Name of the machine, for people.")
    system: str = Field(description="The process table the pid belongs to: host, boot and pid namespace.")
    pid: int = Field(description="Process id.")
    started: float = Field(description="Start of the process, seconds since the epoch; detects a reused pid.")

    def gone(self) -> bool:
        """Return whether this process is known to have ended; False where that cannot be determined."""
        if self.system != _system():
            return False
        try:
            process = psutil.Process(self.pid)
            return bool(abs(process.create_time() - self.started) > 1 or process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False

    def __str__(self) -> str:
        """Return how messages name it."""
        return f"process {self.pid} on {self.host}"


class Entry(BaseModel):
    """One entry of a lease log."""

    model_config = ConfigDict(frozen=True)

    act: Literal["own", "commit", "release", "set-aside"] = Field(description="What happened.")
    nonce: str = Field(description="Random name of the attempt that wrote it.")
    owner: Owner = Field(description="Process that wrote it.")
    reason: str = Field(default="", description="Why the lease was released or the artifact set aside.")
    record: dict[str, Any] | None = Field(default=None, description="For a commit, the whole sealed record.")


@lru_cache(maxsize=1)
def _system() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot, namespace = "", ""
    return f"{socket.gethostname()} {boot} {namespace}"


def this_process() -> Owner:
    """Return this process as an owner."""
    pid = os.getpid()
    return Owner(host=socket.gethostname(), system=_system(), pid=pid, started=psutil.Process(pid).create_time())


class LeaseLog:
    """The lease log of one artifact."""

    def __init__(self, objects: Objects, folder: str) -> None:
        self.objects = objects
        self.folder = folder

    def last(self) -> tuple[int, Entry | None]:
        """Return number and content of the last entry: (0, None) for an empty log, (n, None) if it is damaged."""
        matches = map(_ENTRY.fullmatch, self.objects.names(f"{self.folder}/lease"))
        number = max((int(match[1]) for match in matches if match), default=0)
        return number, self.entry(number) if number else None

    def entry(self, number: int) -> Entry | None:
        """Return an entry, None if it does not exist or is damaged."""
        data = self.objects.read(self._key(number))
        try:
            return None if data is None else Entry.model_validate_json(data)
        except ValidationError:
            log.warning("%s: lease entry %d is damaged", self.folder, number)
            return None

    def exists(self, number: int) -> bool:
        """Return whether an entry with that number exists."""
        return self.objects.read(self._key(number)) is not None

    def append(self, number: int, entry: Entry) -> bool:
        """Create entry `number` and return whether it was written by this call.

        A store may apply a write and lose the acknowledgement, so a failure alone proves nothing: the entry is read
        back and compared. A write that was not applied is retried.

        Raises:
            OSError: the entry could not be written.
        """
        data = json.dumps(entry.model_dump(mode="json"), sort_keys=True).encode()
        for tries_left in reversed(range(_CREATE_TRIES)):
            try:
                self.objects.create(self._key(number), data)
                return True
            except OSError:
                with contextlib.suppress(OSError):
                    if (found := self.objects.read(self._key(number))) is not None:
                        return found == data
                if not tries_left:
                    raise
        raise AssertionError("unreachable")

    def heartbeat(self, number: int) -> bytes | None:
        """Return the heartbeat of the owner that wrote entry `number`, None before the first."""
        return self.objects.read(self.heartbeat_key(number))

    def heartbeat_key(self, number: int) -> str:
        """Return the key of the heartbeat of entry `number`."""
        return f"{self.folder}/lease/heartbeat-{number}.json"

    def _key(self, number: int) -> str:
        return f"{self.folder}/lease/{number:06d}.json"


class Lease:
    """An entry `own` of this process, kept alive by a heartbeat thread until it ends."""

    def __init__(self, lease_log: LeaseLog, number: int, entry: Entry, ttl: float) -> None:
        self.log = lease_log
        self.number = number
        self.entry = entry
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, args=(ttl / _BEATS_PER_TTL,), name=f"lease {lease_log.folder}", daemon=True
        )
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether the last heartbeat found that another process took over; costs nothing."""
        return self._lost.is_set()

    def check(self) -> None:
        """Check in the log that this process still holds the lease.

        Raises:
            SupersededError: another process took over.
        """
        if self.lost or self.log.exists(self.number + 1):
            raise self._superseded()

    def end(self, act: Literal["commit", "release"], reason: str = "", record: dict[str, Any] | None = None) -> None:
        """Write the entry that ends this lease.

        Raises:
            SupersededError: another process took over before.
            OSError: the entry could not be written; the lease then ends with the process or after its time-to-live.
        """
        self._ended.set()
        self._thread.join()
        entry = self.entry.model_copy(update={"act": act, "reason": reason, "record": record})
        if not self.log.append(self.number + 1, entry):
            raise self._superseded()
        with contextlib.suppress(OSError):  # a failed cleanup must not make a written entry look like a failure
            self.log.objects.delete(self.log.heartbeat_key(self.number))

    def committed(self) -> bool:
        """Return whether the log holds this lease's commit, even if writing it raised an error."""
        following = self.log.entry(self.number + 1)
        return following is not None and following.act == "commit" and following.nonce == self.entry.nonce

    def _superseded(self) -> SupersededError:
        successor = self.log.entry(self.number + 1)
        return SupersededError(
            f"{self.log.folder}: the lease of attempt {self.number} was taken over by "
            f"{successor.owner if successor else 'another process'}; this attempt is discarded"
        )

    def _beat(self, interval: float) -> None:
        count = 0
        while True:
            try:
                if self.log.exists(self.number + 1):
                    self._lost.set()
                    return
                self.log.objects.write(self.log.heartbeat_key(self.number), json.dumps({"beat": count}).encode())
            except Exception as error:  # an outage must not end the thread: the next beat may succeed
                log.warning("%s: heartbeat failed: %s", self.log.folder, error)
            count += 1
            if self._ended.wait(interval):
                return


class _Watch:
    """Decides by this process's monotonic clock whether an owner is dead."""

    def __init__(self, ttl: float) -> None:
        self.ttl = ttl
        self._seen: tuple[int, bytes | None] | None = None
        self._since = 0.0

    def dead(self, lease_log: LeaseLog, number: int, owner: Owner | None) -> bool:
        if owner is not None and owner.gone():
            return True
        seen = (number, lease_log.heartbeat(number))
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since > self.ttl


def acquire(
    lease_log: LeaseLog, ttl: float = TTL, waiting: Callable[[Owner | None], None] | None = None
) -> Lease | None:
    """Return the lease once it is free or its owner is dead; return None if another process commits first.

    Args:
        lease_log: the log of the artifact.
        ttl: seconds without a heartbeat after which an owner counts as dead; the same for all users of a root.
        waiting: called once for each owner that this call waits for, with None if its entry is damaged.
    """
    watch = _Watch(ttl)
    reported = 0
    pause = 0.02
    while True:
        number, last = lease_log.last()
        if last is not None and last.act == "commit":
            return None
        free = number == 0 or (last is not None and last.act in ("release", "set-aside"))
        if free or watch.dead(lease_log, number, last.owner if last else None):
            entry = Entry(act="own", nonce=uuid.uuid4().hex, owner=this_process())
            if lease_log.append(number + 1, entry):
                return Lease(lease_log, number + 1, entry, ttl)
            continue
        if waiting is not None and reported != number:
            reported = number
            waiting(last.owner if last else None)
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0, ttl / 4)
