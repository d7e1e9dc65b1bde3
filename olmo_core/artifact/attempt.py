"""One attempt at making an artifact: the lease that allows it, the folder it fills, the commit that makes it visible.

Order of a commit: make the files durable (and upload them to a remote root), write the lease entry `commit` that holds
the whole record, then write `record.json`. A crash before the entry leaves nothing behind. After it, the artifact is
complete: any reader of the entry can write `record.json` from it.
"""

import contextlib
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from olmo_core.artifact.files import sync_tree
from olmo_core.artifact.identity import Step, canonical
from olmo_core.artifact.job import Artifact, Work
from olmo_core.artifact.lease import Lease, LeaseLog, Owner, SupersededError, acquire
from olmo_core.artifact.objects import LocalObjects, RemoteObjects
from olmo_core.artifact.record import FileEntry, Input, Record, content_digest, describe_files
from olmo_core.artifact.source import code_state, environment, source_of
from olmo_core.artifact.store import Store

_SEND_THREADS = 4


@dataclass(frozen=True)
class Fence:
    """Names the lease of an attempt, so that another process can check that it is still held; can be pickled."""

    folder: str
    number: int

    def check(self, store: Store) -> None:
        """Check in the lease log that the attempt still holds its lease.

        Raises:
            SupersededError: the lease was taken over or has ended.
        """
        if LeaseLog(store.objects, self.folder).exists(self.number + 1):
            raise SupersededError(f"{self.folder}: attempt {self.number} no longer holds the lease")


class Attempt:
    """Holds the lease of one step; use it as a context manager. Without a commit, it leaves nothing behind."""

    def __init__(self, store: Store, step: Step, lease: Lease) -> None:
        self.store = store
        self.step = step
        self.lease = lease
        self.out = store.base / store.folder(step) / f"attempt-{lease.number}"
        self._began = time.monotonic()
        self._started = datetime.now(UTC)
        self._open = True

    @property
    def fence(self) -> Fence:
        """The fence by which another process notices that this attempt was superseded."""
        return Fence(self.step.folder, self.lease.number)

    def __enter__(self) -> Self:
        """Create `out` as an empty folder."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Release the lease and remove `out` unless it was committed.

        Raises:
            SupersededError: the lease was taken over, which is the cause of any later error.
        """
        if not self._open:
            return
        superseded = self._abandon(f"{type(error).__name__}: {error}" if error is not None else "left without a commit")
        if superseded is not None and isinstance(error, Exception) and not isinstance(error, SupersededError):
            raise superseded from error

    def commit(
        self,
        result: Mapping[str, Any],
        inputs: Mapping[str, Record | None],
        work: Work,
        energy: Mapping[str, float] | None = None,
    ) -> Artifact:
        """Commit the contents of `out` as the step's artifact.

        Args:
            result: small deterministic values for the record.
            inputs: role -> record of each input as it was read; None for one that is not complete yet.
            work: function that filled `out`; its source is recorded.
            energy: energy readings for the record.

        Raises:
            SupersededError: the lease was taken over; nothing is visible.
            UnsafePathError: `out` contains something other than regular files.
            UnstableValueError: `result` is not plain JSON.
        """
        canonical(result, f"{self.step.label}.result")
        sync_tree(self.out)
        record = self._describe(result, inputs, work, energy)
        if isinstance(self.store.objects, RemoteObjects):
            self._send(self.store.objects, record)
        self.lease.end("commit", record=record.sealed())
        self._open = False
        self.store.objects.write(f"{record.folder}/record.json", record.to_json())
        self.store.verifier.remember(record)
        self._sweep()
        return Artifact(step=self.step, record=record, path=self.out)

    def _describe(
        self,
        result: Mapping[str, Any],
        inputs: Mapping[str, Record | None],
        work: Work,
        energy: Mapping[str, float] | None,
    ) -> Record:
        step = self.step
        files = describe_files(self.out)
        return Record(
            kind=step.kind,
            name=step.name,
            version=step.version,
            id=step.id,
            payload=step.payload,
            inputs={
                role: Input(kind=source.kind, name=source.name, id=source.id, digest=found.digest if found else None)
                for role, source in sorted(step.inputs.items())
                for found in [inputs[role]]
            },
            files=files,
            result=dict(result),
            digest=content_digest(step.kind, files, result),
            attempt=self.lease.number,
            started=self._started.isoformat(),
            finished=datetime.now(UTC).isoformat(),
            seconds=round(time.monotonic() - self._began, 3),
            host=socket.gethostname(),
            code=code_state(),
            source=source_of(work),
            environment=environment(),
            energy=dict(energy) if energy else None,
        )

    def _send(self, objects: RemoteObjects, record: Record) -> None:
        def send(entry: FileEntry) -> None:
            objects.send(self.out / entry.path, f"{record.files_folder}/{entry.path}")

        with ThreadPoolExecutor(_SEND_THREADS) as pool:
            for _ in pool.map(send, record.files):
                pass

    def _abandon(self, reason: str) -> SupersededError | None:
        self._open = False
        superseded = None
        try:
            self.lease.end("release", reason=reason)
        except SupersededError as error:
            if self.lease.committed():
                return None  # the commit succeeded although its acknowledgement was lost: the files are in use
            superseded = error
        except OSError as error:
            # The commit may have succeeded, so the files stay; if it did not, the next commit removes them.
            self.store.warn(f"{self.step.label}: lease was not released: {error}")
            return None
        self._remove(f"attempt-{self.lease.number}")
        return superseded

    def _sweep(self) -> None:
        """Remove the files of earlier attempts that were superseded or killed; keep those that were set aside."""
        names = {*self.store.objects.names(self.step.folder), *LocalObjects(self.store.base).names(self.step.folder)}
        for name in sorted(names):
            number = name.removeprefix("attempt-")
            earlier = number != name and number.isdigit() and int(number) < self.lease.number
            if earlier and f"set-aside-{number}.json" not in names:
                self._remove(name)
        for name in self.store.objects.names(f"{self.step.folder}/lease"):
            if name.startswith("heartbeat-"):
                self._remove(f"lease/{name}")

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):  # a failed cleanup must not make a commit look like a failure
            self.store.objects.delete(f"{self.step.folder}/{name}")
            LocalObjects(self.store.base).delete(f"{self.step.folder}/{name}")


def begin(store: Store, step: Step, waiting: Callable[[Owner | None], None] | None = None) -> Attempt | None:
    """Acquire the lease of a step, waiting for a live owner; return None if another process committed the artifact."""
    lease = acquire(LeaseLog(store.objects, store.folder(step)), store.ttl, waiting)
    return None if lease is None else Attempt(store, step, lease)
