"""The reader's side of the outbox: complete lines in order, the position sent in each file, and refused events.

Positions are stored per address, so a new tracking server gets everything from the start. `events` writes the lines,
`sender` sends them.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from olmo_core.artifact.lock import locked

ENVELOPE = {"event", "recipe", "release", "time"}  # Fields of every event.
READ_BYTES = 4 << 20  # Of one file at a time.


@dataclass(frozen=True)
class QueuedEvent:
    """One line of the outbox and the offset of its end; `event` is empty if the line is not an event."""

    file: str
    end: int
    event: dict[str, Any]

    @property
    def recipe(self) -> str:
        """Name of its recipe."""
        return str(self.event["recipe"])


class EventQueue:
    """The outbox of `folder`, read for one address."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        key = hashlib.sha256(address.encode()).hexdigest()[:12]
        self._shipped = folder / f"shipped-{key}.json"
        self._refused = folder / f"refused-{key}.jsonl"
        self._note = folder / f"trouble-{key}.txt"
        self._lock = folder / f"shipper-{key}.lock"

    @contextmanager
    def only_reader(self) -> Iterator[None]:
        """Wait for the exclusive lock on this address and hold it in this block; a dead holder loses it at once."""
        with locked(self._lock):
            yield

    def read(self) -> list[QueuedEvent]:
        """Return complete lines that were not sent yet, oldest file first; `[]` if there are none."""
        shipped = self._offsets()
        for file in self._files():
            start = shipped.get(file.name, 0)
            if file.stat().st_size > start and (items := _queued_events(file, start)):
                return items
        return []

    def done(self, item: QueuedEvent) -> None:
        """Store that everything up to and including `item` was sent."""
        self._save({**self._offsets(), item.file: item.end})

    def refuse(self, item: QueuedEvent, reason: str) -> None:
        """Store that the server does not accept an event, with the reason; it counts as done."""
        with self._refused.open("a") as file:
            file.write(json.dumps({"file": item.file, "end": item.end, "reason": reason}) + "\n")
        self.done(item)

    def note(self, trouble: str) -> None:
        """Store why nothing can be sent at the moment; '' removes the note."""
        if trouble:
            self._note.write_text(trouble)
        else:
            self._note.unlink(missing_ok=True)

    def noted(self) -> str:
        """Return why nothing can be sent at the moment; '' if events can be sent."""
        with suppress(FileNotFoundError):
            return self._note.read_text()
        return ""

    def forget(self) -> None:
        """Start over: every line counts as not sent, including refused events."""
        for path in (self._shipped, self._refused):
            path.unlink(missing_ok=True)

    def left(self) -> int:
        """Return the number of complete lines that were not sent yet."""
        shipped = self._offsets()
        return sum(_lines(file, shipped.get(file.name, 0)) for file in self._files())

    def refused(self) -> Sequence[dict[str, Any]]:
        """Return the refused events: file, offset of the line's end, reason."""
        with suppress(FileNotFoundError):
            return [json.loads(line) for line in self._refused.read_text(encoding="utf-8").splitlines()]
        return []

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.jsonl"))

    def _offsets(self) -> dict[str, int]:
        try:
            offsets: dict[str, int] = json.loads(self._shipped.read_bytes())
        except (FileNotFoundError, ValueError):  # lost in a power failure; sending everything again does no harm
            return {}
        return offsets

    def _save(self, offsets: dict[str, int]) -> None:
        new = self._shipped.with_suffix(".new")
        new.write_text(json.dumps(offsets, sort_keys=True))
        new.replace(self._shipped)


def batches(items: Sequence[QueuedEvent]) -> Iterator[list[QueuedEvent]]:
    """Yield consecutive metrics together, and every other item by itself."""
    for is_metrics, group in groupby(items, lambda item: item.event.get("event") == "metrics"):
        together = list(group)
        yield from [together] if is_metrics else [[item] for item in together]


def merged(batch: Sequence[QueuedEvent]) -> Iterator[dict[str, Any]]:
    """Yield the events of a batch, with the metrics of each run merged into one event."""
    runs: dict[tuple[str, ...], dict[str, Any]] = {}
    for event in (item.event for item in batch):
        if event["event"] != "metrics":
            yield event
            continue
        run = runs.setdefault((event["recipe"], event["release"], event["id"]), {**event, "points": []})
        run["points"] += event["points"]
    yield from runs.values()


def _queued_events(file: Path, start: int) -> list[QueuedEvent]:
    """Return complete lines of a file from `start`: at least one if there is any, up to about `READ_BYTES`."""
    items = []
    with file.open("rb") as lines:
        lines.seek(start)
        for line in iter(lines.readline, b""):
            if not line.endswith(b"\n"):
                break  # still being written, or its writer died while writing it
            items.append(QueuedEvent(file.name, lines.tell(), _event(line)))
            if lines.tell() - start > READ_BYTES:
                break
    return items


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) and event.keys() >= ENVELOPE else {}


def _lines(file: Path, start: int) -> int:
    with file.open("rb") as lines:
        lines.seek(start)
        return sum(chunk.count(b"\n") for chunk in iter(lambda: lines.read(READ_BYTES), b""))
