"""The outbox: events of a release, stored on disk until they are sent to the tracking server.

The flow and each worker append JSON lines to their own file in one folder. Nothing here waits for a server or raises
into training. `sender` reads the folder through `queue` and sends the events.
"""

import atexit
import json
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from olmo_core.artifact.identity import Step
from olmo_core.artifact.record import Record
from olmo_core.artifact.source import code_state

log = logging.getLogger(__name__)

WRITE_POINTS = 50  # Points in memory that wake the writing thread.
WRITE_SECONDS = 2.0  # Longest time that a point is only in memory.
MEMORY_BYTES = 64 << 20  # Most lines in memory while they cannot be written; metrics beyond it are counted as lost.

Point = tuple[str, int, float, dict[str, float]]  # Step id, training step, wall time in seconds, values.


class EventLog:
    """A writer of the folder. Safe to share between threads; pickles as its arguments, so each worker opens its own."""

    def __init__(self, folder: str | Path, recipe: str, release: str) -> None:
        """Set up a writer without opening a file; the first line creates it.

        Args:
            folder: shared by all writers and the sender.
            recipe: name of the recipe.
            release: id of the release these events belong to.
        """
        self.folder = Path(folder)
        self.recipe = recipe
        self.release_id = release
        self.lost = 0
        self._opened = time.time()
        self._file: int | None = None
        self._points: deque[Point] = deque()
        self._unwritten = b""
        self._warned = False
        self._counts = {"made": 0, "reused": 0}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the arguments."""
        return EventLog, (self.folder, self.recipe, self.release_id)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, _kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Close the log."""
        self.close()

    def release(self, recipe: Mapping[str, Any], plan: Sequence[Step]) -> None:
        """Record that the release begins or resumes, with its resolved recipe and every step of its plan."""
        steps = [{"label": step.label, "id": step.id} for step in plan]
        self._send("release", values=dict(recipe), plan=steps, code=code_state().model_dump())

    def step(self, root: str, record: Record, reused: bool) -> None:
        """Record that the artifact of a step is in the store below `root`, newly made or reused.

        A reused checkpoint counts as made if its run committed it after this log was opened.
        """
        reused = reused and datetime.fromisoformat(record.finished).timestamp() < self._opened
        with self._lock:
            self._counts["reused" if reused else "made"] += 1
        self._send("step", root=root, record=record.model_dump(mode="json"), reused=reused)

    def revision(self, repo: str, name: str, commit: str, step: Step, model: Step, root: str, main: bool) -> None:
        """Record that a revision is published.

        Args:
            repo: Hub repository, `org/name`.
            name: name of the revision.
            commit: commit that the name points at.
            step: the `revision` step.
            model: the checkpoint or soup that it was exported from.
            root: root of the store that holds both.
            main: whether this is the `main` revision of the release.
        """
        about = {"kind": model.kind, "name": model.name, "id": model.id}
        self._send("revision", repo=repo, name=name, commit=commit, id=step.id, model=about, root=root, main=main)

    def repository(self, name: str, runs: Mapping[str, Sequence[tuple[int, Mapping[str, Any]]]]) -> None:
        """Record the evaluations of a Hub repository so far.

        Args:
            name: name of the repository, `org/name`.
            runs: run -> (training step, result) of its evaluated revisions, by their names.
        """
        self._send("repository", repo=name, runs=runs)

    def finished(self) -> None:
        """Record that the release is complete."""
        self._send("finished", steps=self._counts)

    def failed(self, reason: str) -> None:
        """Record that the release ended early."""
        self._send("failed", steps=self._counts, reason=reason)

    def metrics(self, step_id: str, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of one training step of the run `step_id`; return at once and never raise."""
        self._points.append((step_id, step, time.time(), dict(values)))
        if self._thread is None:
            self._start()
        if len(self._points) >= WRITE_POINTS:
            self._wake.set()

    def flush(self) -> None:
        """Write the events in memory; keep those that cannot be written now."""
        with self._lock:
            self._write(b"")

    def close(self) -> None:
        """Write the events in memory and end the writing thread; the log can be used again afterwards."""
        atexit.unregister(self.close)
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=WRITE_SECONDS)
            self._thread = None
        with self._lock:
            self._write(b"")
            if self._unwritten:
                log.warning("outbox %s: %d bytes could not be written and are lost", self.folder, len(self._unwritten))
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._closed.clear()
                self._thread = threading.Thread(target=self._keep_writing, name="outbox", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def _keep_writing(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(WRITE_SECONDS)
            self._wake.clear()
            self.flush()

    def _send(self, event: str, **values: Any) -> None:
        line = self._line(event, **values)
        with self._lock:
            self._write(line)

    def _line(self, event: str, **values: Any) -> bytes:
        known = {"event": event, "recipe": self.recipe, "release": self.release_id, "time": time.time()}
        return json.dumps({**known, **values}, separators=(",", ":"), default=float).encode() + b"\n"

    def _write(self, line: bytes) -> None:
        """Append the points in memory and `line`; the caller holds the lock. The next call completes a partial line."""
        self._unwritten += self._take_points() + line
        try:
            while self._unwritten:
                if self._file is None:
                    self._file = self._open()
                self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]
            if line and self._file is not None:
                os.fsync(self._file)
        except OSError as error:
            if not self._warned:
                log.warning("outbox %s cannot be written, events wait in memory: %s", self.folder, error)
            self._warned = True
        else:
            self._warned = False

    def _take_points(self) -> bytes:
        """Return the points in memory as lines, one per run."""
        points: dict[str, list[tuple[int, float, dict[str, float]]]] = {}
        for _ in range(len(self._points)):
            step_id, step, now, values = self._points.popleft()
            points.setdefault(step_id, []).append((step, now, values))
        lines = []
        for step_id, own in points.items():
            try:
                line = self._line("metrics", id=step_id, points=own)
            except (TypeError, ValueError) as error:
                self._lose(len(own), f"not numbers: {error}")
                continue
            if len(self._unwritten) + len(line) > MEMORY_BYTES:
                self._lose(len(own), "the disk has been full for too long")
            else:
                lines.append(line)
        return b"".join(lines)

    def _lose(self, points: int, why: str) -> None:
        if not self.lost:
            log.warning("outbox %s: metrics of %d training steps are lost, %s", self.folder, points, why)
        self.lost += points

    def _open(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.jsonl"
        return os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)


class SilentEventLog(EventLog):
    """Records nothing; for a release that is already tracked and has nothing to run."""

    def _send(self, event: str, **values: Any) -> None:
        """Record nothing."""
