"""The artifact store: from a step's id to verified files on local disk.

An artifact is `<root>/<kind>/<name>-<id12>/` with `record.json`, the lease log `lease/` and its files in
`attempt-<n>/`. Below a remote root the files are fetched into a scratch folder and verified there; below a local root
they are read in place. Making artifacts is left to `attempt` and `make`.
"""

import hashlib
import logging
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from olmo_core.artifact.files import safe_path, sha256_file, sha256_files
from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact
from olmo_core.artifact.lease import TTL, Entry, LeaseLog, this_process
from olmo_core.artifact.objects import LocalObjects, open_objects
from olmo_core.artifact.record import DamagedRecordError, Record

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")
_FETCH_TRIES = 2

# (size, time of last change in ns, inode) of each file: as long as these stay, the bytes that were hashed stay.
_Signature = tuple[tuple[int, int, int], ...]


class Store:
    """Artifacts below one root. Safe to share between threads; pickles as its arguments."""

    def __init__(
        self,
        root: str | Path,
        scratch: Path | None = None,
        ttl: float = TTL,
        warn: Callable[[str], None] = log.warning,
    ) -> None:
        """Open a root; nothing is read or written yet.

        Args:
            root: a path, `file://`, `memory://` or `s3://`; credentials come from the environment.
            scratch: local folder for files of a remote root, the user's cache folder when not given.
            ttl: seconds after which a silent owner of a lease counts as dead.
            warn: told what did not match and was set aside.
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
        self._verified: dict[str, tuple[str, _Signature]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the arguments, so that a worker opens the root itself."""
        return Store, (self.root, self.scratch, self.ttl, self.warn)

    def folder(self, step: Step) -> str:
        """Return where a step's artifact lies below the root.

        Raises:
            ValueError: kind or name of the step is no plain file name.
        """
        for what, text in (("kind", step.kind), ("name", step.name)):
            if not _NAME.fullmatch(text):
                raise ValueError(f"step {step.label}: {what} {text!r} may hold letters, digits, '.', '_' and '-' only")
        return step.folder

    def peek(self, step: Step) -> Record | None:
        """Return the record of a complete artifact whose files have the right sizes; changes and hashes nothing."""
        record = self._record(self.folder(step))
        return record if record is not None and not self._problem(step, record) else None

    def problem(self, step: Step) -> str:
        """Return why an artifact that once was complete cannot be used, '' where there is none or it looks intact."""
        folder = self.folder(step)
        record = self._record(folder)
        if record is not None:
            return self._problem(step, record)
        _, last = LeaseLog(self.objects, folder).last()
        return last.reason if last is not None and last.act == "set-aside" else ""

    def find(self, step: Step) -> Artifact | None:
        """Return a step's artifact when it is complete and every file has its size and digest, else None.

        What does not match is named through `warn`, set aside and never used. Digests are computed on first use in this
        process and again when a file's size, time or inode changed.

        Raises:
            OSError: the root cannot be reached; an outage is never taken for damage.
        """
        folder = self.folder(step)
        while (record := self._record(folder)) is not None:
            problem = self._problem(step, record) or self._verify(record)
            if not problem:
                if self.objects.read(f"{folder}/record.json") is None:
                    self.objects.write(f"{folder}/record.json", record.to_json())
                return Artifact(step=step, record=record, path=self.path(record))
            self.set_aside(record, problem)
        return None

    def records(self, kind: str | None = None) -> Iterator[Record]:
        """Yield the records of all artifacts (of one kind), in order of their paths; their files are not looked at."""
        for each in self.objects.names("") if kind is None else [kind]:
            for name in self.objects.names(each):
                record = self._record(f"{each}/{name}")
                if record is not None:
                    yield record

    def path(self, record: Record) -> Path:
        """Return the local folder of an artifact's files."""
        return self.base / record.folder / f"attempt-{record.attempt}"

    def set_aside(self, record: Record, reason: str) -> None:
        """Make an artifact a miss: its record is renamed, its files stay for whoever wants to look at them."""
        self.warn(f"{record.label}: {reason}; set aside, to be made again")
        lease_log = LeaseLog(self.objects, record.folder)
        number, last = lease_log.last()
        committed = _committed(last)
        if committed is not None and committed.attempt != record.attempt:
            # A writer that slept overwrote record.json with one that had been set aside long before.
            self.objects.write(f"{record.folder}/record.json", committed.to_json())
            return
        if number == 0 or last is None or last.act == "commit":
            nonce = uuid.uuid4().hex
            lease_log.append(number + 1, Entry(act="set-aside", nonce=nonce, owner=this_process(), reason=reason))
        self.objects.write(f"{record.folder}/set-aside-{record.attempt}.json", record.to_json())
        self.objects.delete(f"{record.folder}/record.json")

    def remember(self, record: Record) -> None:
        """Take the files of a record as verified: the caller hashed them just now."""
        with self._lock:
            self._verified[record.folder] = (record.digest, _signature(self._paths(record)))

    def _record(self, folder: str) -> Record | None:
        data = self.objects.read(f"{folder}/record.json")
        if data is not None:
            try:
                return Record.from_json(data)
            except DamagedRecordError as error:
                self.warn(f"{folder}/record.json: {error}; the copy in the lease log is used")
        _, last = LeaseLog(self.objects, folder).last()
        return _committed(last)

    def _problem(self, step: Step, record: Record) -> str:
        if record.id != step.id:
            return f"record.json has the id {record.id}, wanted {step.id}"
        attempt = f"{record.folder}/attempt-{record.attempt}"
        if isinstance(self.objects, LocalObjects):
            found = {e.path: _size(self.objects.folder / attempt / safe_path(e.path)) for e in record.files}
        else:
            found = dict(self.objects.sizes(attempt)) if record.files else {}
        for entry in record.files:
            size = found.get(entry.path)
            if size is None:
                return f"file {entry.path} is missing"
            if size != entry.size:
                return f"file {entry.path} has {size} bytes, recorded {entry.size}"
        return ""

    def _verify(self, record: Record) -> str:
        paths = self._paths(record)
        with self._lock:
            seen = self._verified.get(record.folder)
        if seen is not None and seen == (record.digest, _signature(paths)):
            return ""
        if isinstance(self.objects, LocalObjects):
            before = _signature(paths)
            for entry, digest in zip(record.files, sha256_files(paths), strict=True):
                if digest != entry.sha256:
                    return f"file {entry.path} has the sha256 {digest}, recorded {entry.sha256}"
        else:
            for entry, path in zip(record.files, paths, strict=True):
                if problem := self._fetch(f"{record.folder}/attempt-{record.attempt}/{entry.path}", path, entry.sha256):
                    return f"file {entry.path} {problem}"
            before = _signature(paths)
        with self._lock:
            self._verified[record.folder] = (record.digest, before)
        return ""

    def _fetch(self, key: str, path: Path, sha256: str) -> str:
        """Bring an object to `path` with the right bytes; return what is wrong where that cannot be done."""
        assert not isinstance(self.objects, LocalObjects)
        if path.is_file() and sha256_file(path) == sha256:
            return ""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        digest = ""
        try:
            for _ in range(_FETCH_TRIES):  # twice: a bit may have flipped on the way
                try:
                    self.objects.fetch(key, temporary)
                except FileNotFoundError:
                    return "is missing"
                digest = sha256_file(temporary)
                if digest == sha256:
                    temporary.replace(path)
                    return ""
        finally:
            temporary.unlink(missing_ok=True)
        return f"has the sha256 {digest}, recorded {sha256}"

    def _paths(self, record: Record) -> list[Path]:
        return [self.path(record) / safe_path(entry.path) for entry in record.files]


def _committed(last: Entry | None) -> Record | None:
    if last is None or last.act != "commit" or last.record is None:
        return None
    try:
        return Record.unseal(last.record)
    except DamagedRecordError:
        return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _signature(paths: list[Path]) -> _Signature:
    """Return size, time and inode of each file, zeros where there is none."""
    found = []
    for path in paths:
        try:
            state = path.stat()
            found.append((state.st_size, state.st_mtime_ns, state.st_ino))
        except FileNotFoundError:
            found.append((0, 0, 0))
    return tuple(found)
