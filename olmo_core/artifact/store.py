"""The artifact store: from a step's id to verified files on local disk.

An artifact is `<root>/<kind>/<name>-<id12>/` with `record.json`, the lease log `lease/` and its files in
`attempt-<n>/`. Files of a remote root are downloaded to a scratch folder and verified there; files of a local root are
read in place. `attempt` and `make` make artifacts.
"""

import hashlib
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeGuard

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact
from olmo_core.artifact.lease import TTL, Entry, LeaseLog, this_process
from olmo_core.artifact.objects import LocalObjects, open_objects
from olmo_core.artifact.record import DamagedRecordError, Record
from olmo_core.artifact.snapshot import Snapshot
from olmo_core.artifact.verify import Verifier

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")


class CollisionError(ValueError):
    """Two steps have the same name and the same first 12 digits of their ids."""


class Store:
    """The artifacts below one root. Safe to share between threads; pickles as its arguments."""

    def __init__(
        self,
        root: str | Path,
        scratch: Path | None = None,
        ttl: float = TTL,
        warn: Callable[[str], None] = log.warning,
    ) -> None:
        """Open a root without reading or writing anything.

        Args:
            root: a path, `file://`, `memory://` or `s3://`; credentials come from the environment.
            scratch: local folder for files of a remote root; by default in the user's cache folder.
            ttl: seconds without a heartbeat after which the owner of a lease counts as dead; the same for all users of
                a root.
            warn: called with a message for each artifact that does not match its record and is set aside.
        """
        self.objects = open_objects(root)
        self.root = self.objects.root
        self.scratch = scratch
        self.ttl = ttl
        self.warn = warn
        if isinstance(self.objects, LocalObjects):
            self.base = self.objects.folder
        else:
            cache = scratch or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "olmo"
            self.base = cache.absolute() / hashlib.sha256(self.root.encode()).hexdigest()[:12]
        self.verifier = Verifier(self.objects, self.base)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the arguments, so that a worker opens the root itself."""
        return Store, (self.root, self.scratch, self.ttl, self.warn)

    def folder(self, step: Step) -> str:
        """Return the folder of a step's artifact below the root.

        Raises:
            ValueError: kind or name of the step is not a plain file name.
        """
        for what, text in (("kind", step.kind), ("name", step.name)):
            if not _NAME.fullmatch(text):
                raise ValueError(f"step {step.label}: {what} {text!r} may only contain letters, digits, '.', '_', '-'")
        return step.folder

    def peek(self, step: Step) -> Record | None:
        """Return the record of a complete artifact whose files have the right sizes; change and hash nothing."""
        records = map(self.record, self._folders(step))
        return next((record for record in records if self.holds(record, step)), None)

    def snapshot(self) -> Snapshot:
        """Return a view of what the store holds now, for looking at many steps."""
        return Snapshot(self)

    def record(self, folder: str) -> Record | None:
        """Return the record of a folder below the root without checking its files, None where it has none."""
        return self._written(folder) or self._logged(folder)

    def holds(self, record: Record | None, step: Step) -> TypeGuard[Record]:
        """Return whether a record is one of this step whose files have the right sizes."""
        return record is not None and record.id == step.id and not self.verifier.sizes(record)

    def problem(self, step: Step) -> str:
        """Return why an artifact that was complete once cannot be used, '' if it never was or looks intact."""
        folder = self.folder(step)
        record = self.record(folder)
        if record is not None:
            return self.verifier.sizes(record)
        _, last = LeaseLog(self.objects, folder).last()
        return last.reason if last is not None and last.act == "set-aside" else ""

    def find(self, step: Step) -> Artifact | None:
        """Return a step's artifact if it is complete and every file has its recorded size and digest, else None.

        An artifact that does not match is reported through `warn`, set aside and never used. Digests are computed on
        first use in this process, and again when a file's size, time or inode changed. An artifact made under another
        name is found as well, because names are not part of the identity.

        Raises:
            CollisionError: the artifact of another step occupies this step's folder.
            OSError: the root cannot be reached; an outage is never mistaken for damage.
        """
        for folder in self._folders(step):
            while (record := self._written(folder) or self._restore(folder)) is not None:
                if record.id != step.id:
                    raise CollisionError(
                        f"{folder} belongs to the step {record.id}, not to {step.id}; rename one of them"
                    )
                problem = self.verifier.sizes(record) or self.verifier.digests(record)
                if not problem:
                    return Artifact(step=step, record=record, path=self.verifier.path(record))
                self.set_aside(record, problem)
        return None

    def records(self, kind: str | None = None) -> Iterator[Record]:
        """Yield the records of all artifacts (of one kind), ordered by path, without checking their files."""
        for each in self.objects.names("") if kind is None else [kind]:
            for name in self.objects.names(each):
                if (record := self.record(f"{each}/{name}")) is not None:
                    yield record

    def set_aside(self, record: Record, reason: str) -> None:
        """Turn an artifact into a miss: rename its record and keep its files for inspection."""
        lease_log = LeaseLog(self.objects, record.folder)
        number, last = lease_log.last()
        if last is None or last.act == "commit":
            committed = self._logged(record.folder)
            if committed is not None and committed.attempt != record.attempt:
                # It was made again meanwhile, and a writer that was paused then wrote the old record.
                self.objects.write(f"{record.folder}/record.json", committed.to_json())
                return
            entry = Entry(act="set-aside", nonce=uuid.uuid4().hex, owner=this_process(), reason=reason)
            if not lease_log.append(number + 1, entry):
                return  # another process set it aside first
        self.warn(f"{record.label}: {reason}; set aside, to be made again")
        self.objects.write(f"{record.folder}/set-aside-{record.attempt}.json", record.to_json())
        self.objects.delete(f"{record.folder}/record.json")

    def discard(self, step: Step) -> None:
        """Remove an artifact and its files; only for what no other step reads, such as a checkpoint for recovery."""
        record = self.record(step.folder)
        if record is None or record.id != step.id:
            return
        number, _ = LeaseLog(self.objects, record.folder).last()
        entry = Entry(act="set-aside", nonce=uuid.uuid4().hex, owner=this_process(), reason="discarded")
        if LeaseLog(self.objects, record.folder).append(number + 1, entry):
            self.objects.delete(f"{record.folder}/record.json")
            self.objects.delete(record.files_folder)
            LocalObjects(self.base).delete(record.files_folder)

    def _folders(self, step: Step) -> Iterator[str]:
        """Yield the folders that may hold the step's artifact: under its own name, then under other names."""
        own = self.folder(step)
        yield own
        for name in self.objects.names(step.kind):
            if name.endswith(f"-{step.id[:12]}") and f"{step.kind}/{name}" != own:
                yield f"{step.kind}/{name}"

    def _written(self, folder: str) -> Record | None:
        """Return the record in `record.json`, None if it is missing or damaged."""
        data = self.objects.read(f"{folder}/record.json")
        if data is None:
            return None
        try:
            record = Record.from_json(data)
            if record.folder != folder:
                raise DamagedRecordError(f"record belongs to {record.folder}")
            return record
        except DamagedRecordError as error:
            self.warn(f"{folder}/record.json: {error}; the copy in the lease log is used instead")
            return None

    def _logged(self, folder: str) -> Record | None:
        """Return the record in the last entry of the lease log, None if that is not a commit or is damaged."""
        _, last = LeaseLog(self.objects, folder).last()
        if last is None or last.act != "commit":
            return None
        try:
            record = Record.unseal(last.record)
            return record if record.folder == folder else None
        except DamagedRecordError:
            return None

    def _restore(self, folder: str) -> Record | None:
        """Write `record.json` from the lease log, because its writer died after the entry or it was damaged later."""
        record = self._logged(folder)
        if record is not None:
            self.objects.write(f"{folder}/record.json", record.to_json())
        return record
