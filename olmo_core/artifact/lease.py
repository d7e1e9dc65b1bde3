"""One owner at a time: a log of numbered entries beside each artifact, each created exclusively.

The owner is whoever wrote the last entry. Taking over, committing, releasing and setting aside are all the same act:
to create the next number. Of two that try, one fails, so an owner that was superseded cannot commit, and neither
compare-and-swap nor a clock is needed for that. Clocks only decide when an attempt to take over is polite: at once when
the owner's process is known to be gone, else when its heartbeat did not change for a time-to-live, measured by the
observer's own monotonic clock.

Entries live in `<folder>/lease/000001.json`, heartbeats in `<folder>/lease/heartbeat-<n>.json`.
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

# Seconds an owner on another machine may stay silent. Long, because work may hold the interpreter lock for a while and
# being superseded throws its work away; an owner that died on this machine is noticed at once.
TTL = 90.0
_BEATS_PER_TTL = 6
_CREATE_TRIES = 3
_ENTRY = re.compile(r"(\d{6})\.json")

log = logging.getLogger(__name__)


class SupersededError(RuntimeError):
    """The lease went to somebody else; what was made under it cannot be committed."""


class Owner(BaseModel):
    """A process that holds a lease."""

    model_config = ConfigDict(frozen=True)

    host: str = Field(description="Machine's name, for people.")
    system: str = Field(description="The process table the pid belongs to: host, boot and pid namespace.")
    pid: int = Field(description="Process id.")
    started: float = Field(description="When the process started, seconds of the epoch; tells a reused pid apart.")

    def gone(self) -> bool:
        """Whether this process is known to have ended; False where that cannot be seen from here."""
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
        """How people are told."""
        return f"process {self.pid} on {self.host}"


class Entry(BaseModel):
    """One entry of a lease log."""

    model_config = ConfigDict(frozen=True)

    act: Literal["own", "commit", "release", "set-aside"] = Field(description="What happened.")
    nonce: str = Field(description="Random name of the try that wrote it.")
    owner: Owner = Field(description="Process that wrote it.")
    reason: str = Field(default="", description="Why it was released or set aside.")
    record: dict[str, Any] | None = Field(default=None, description="Of a commit: the sealed record, whole.")


@lru_cache(maxsize=1)
def _system() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot, namespace = "", ""
    return f"{socket.gethostname()} {boot} {namespace}"


def this_process() -> Owner:
    """Return the owner that this process is."""
    pid = os.getpid()
    return Owner(host=socket.gethostname(), system=_system(), pid=pid, started=psutil.Process(pid).create_time())


class LeaseLog:
    """The lease log of one artifact."""

    def __init__(self, objects: Objects, folder: str) -> None:
        self.objects = objects
        self.folder = folder

    def last(self) -> tuple[int, Entry | None]:
        """Return number and content of the last entry: (0, None) of an empty log, (n, None) where it is damaged."""
        matches = map(_ENTRY.fullmatch, self.objects.names(f"{self.folder}/lease"))
        number = max((int(match[1]) for match in matches if match), default=0)
        return number, self.entry(number) if number else None

    def entry(self, number: int) -> Entry | None:
        """Return an entry, None where it does not exist or is damaged."""
        data = self.objects.read(self._key(number))
        try:
            return None if data is None else Entry.model_validate_json(data)
        except ValidationError:
            log.warning("%s: lease entry %d is damaged", self.folder, number)
            return None

    def taken(self, number: int) -> bool:
        """Whether an entry of that number exists."""
        return self.objects.read(self._key(number)) is not None

    def append(self, number: int, entry: Entry) -> bool:
        """Create entry `number`; whether it is ours afterwards.

        A store may apply a write and lose the acknowledgement, so a failure says nothing by itself: what lies there is
        read back and decides. A write that did not happen is tried again.

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
        """Return where the heartbeat of entry `number` lies."""
        return f"{self.folder}/lease/heartbeat-{number}.json"

    def _key(self, number: int) -> str:
        return f"{self.folder}/lease/{number:06d}.json"


class Lease:
    """An entry `own` of this process, kept alive by a heartbeat thread until it is ended."""

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
        """Whether the last heartbeat saw that somebody took over; costs nothing."""
        return self._lost.is_set()

    def check(self) -> None:
        """Look into the log now.

        Raises:
            SupersededError: somebody took over.
        """
        if self.lost or self.log.taken(self.number + 1):
            raise self._superseded()

    def end(self, act: Literal["commit", "release"], reason: str = "", record: dict[str, Any] | None = None) -> None:
        """Write the entry that ends this lease.

        Raises:
            SupersededError: somebody took over before.
            OSError: the entry could not be written; the lease then ends with the process or by its time-to-live.
        """
        self._ended.set()
        self._thread.join()
        entry = self.entry.model_copy(update={"act": act, "reason": reason, "record": record})
        if not self.log.append(self.number + 1, entry):
            raise self._superseded()
        with contextlib.suppress(OSError):  # tidying up must not make an act that happened look like a failure
            self.log.objects.delete(self.log.heartbeat_key(self.number))

    def committed(self) -> bool:
        """Look into the log whether the commit of this lease went through, whatever its caller was told."""
        following = self.log.entry(self.number + 1)
        return following is not None and following.act == "commit" and following.nonce == self.entry.nonce

    def _superseded(self) -> SupersededError:
        successor = self.log.entry(self.number + 1)
        return SupersededError(
            f"{self.log.folder}: the lease of attempt {self.number} was taken over by "
            f"{successor.owner if successor else 'somebody'}; this attempt is discarded"
        )

    def _beat(self, interval: float) -> None:
        count = 0
        while True:
            try:
                if self.log.taken(self.number + 1):
                    self._lost.set()
                    return
                self.log.objects.write(self.log.heartbeat_key(self.number), json.dumps({"beat": count}).encode())
            except Exception as error:  # an outage must not end the thread: it may be over at the next beat
                log.warning("%s: heartbeat failed: %s", self.log.folder, error)
            count += 1
            if self._ended.wait(interval):
                return


class _Watch:
    """Judges by this process's monotonic clock whether an owner is dead."""

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
    """Return the lease once it is free or its owner is dead; None where somebody committed instead.

    Args:
        lease_log: the log of the artifact.
        ttl: seconds after which a silent owner counts as dead; all that share a root must use the same.
        waiting: called once for each owner that is waited for, with None where its entry is damaged.
    """
    watch = _Watch(ttl)
    told = 0
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
        if waiting is not None and told != number:
            told = number
            waiting(last.owner if last else None)
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0, ttl / 4)
