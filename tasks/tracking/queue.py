"""The outbox as its reader sees it: complete lines in order, how far each file was shipped, what was refused.

The position is kept for each address, so a new tracking server gets everything from the start. `events` writes the
lines, `sender` sends them.
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

ENVELOPE = {"event", "recipe", "release", "time"}  # What every event has.
READ_BYTES = 4 << 20  # Of one file at a time.


@dataclass(frozen=True)
class QueuedEvent:
    """One line of the outbox and where it ends; `event` is empty where the line says less than every event does."""

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
        """Wait for the right to ship to this address and hold it; a dead holder loses it at once."""
        with locked(self._lock):
            yield

    def read(self) -> list[QueuedEvent]:
        """Return complete lines that were not shipped yet, oldest file first; `[]` when there is nothing new."""
        shipped = self._offsets()
        for file in self._files():
            start = shipped.get(file.name, 0)
            if file.stat().st_size > start and (items := _queued_events(file, start)):
                return items
        return []

    def done(self, item: QueuedEvent) -> None:
        """Remember that everything up to and with `item` was shipped."""
        self._save({**self._offsets(), item.file: item.end})

    def refuse(self, item: QueuedEvent, reason: str) -> None:
        """Keep an event that the server will not take beside the outbox, with the reason; it counts as done."""
        with self._refused.open("a") as file:
            file.write(json.dumps({"file": item.file, "end": item.end, "reason": reason}) + "\n")
        self.done(item)

    def note(self, trouble: str) -> None:
        """Note why nothing can be shipped at the moment; '' takes the note away."""
        if trouble:
            self._note.write_text(trouble)
        else:
            self._note.unlink(missing_ok=True)

    def noted(self) -> str:
        """Return why nothing can be shipped at the moment, '' where it can."""
        with suppress(FileNotFoundError):
            return self._note.read_text()
        return ""

    def forget(self) -> None:
        """Start over: every line counts as not shipped, and what was refused gets another chance."""
        for path in (self._shipped, self._refused):
            path.unlink(missing_ok=True)

    def left(self) -> int:
        """Count the complete lines that were not shipped yet."""
        shipped = self._offsets()
        return sum(_lines(file, shipped.get(file.name, 0)) for file in self._files())

    def refused(self) -> Sequence[dict[str, Any]]:
        """What was refused: file, where the line ends, reason."""
        with suppress(FileNotFoundError):
            return [json.loads(line) for line in self._refused.read_text(encoding="utf-8").splitlines()]
        return []

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.jsonl"))

    def _offsets(self) -> dict[str, int]:
        try:
            offsets: dict[str, int] = json.loads(self._shipped.read_bytes())
        except (FileNotFoundError, ValueError):  # lost in a power failure: all is sent again, which does no harm
            return {}
        return offsets

    def _save(self, offsets: dict[str, int]) -> None:
        new = self._shipped.with_suffix(".new")
        new.write_text(json.dumps(offsets, sort_keys=True))
        new.replace(self._shipped)


def batches(items: Sequence[QueuedEvent]) -> Iterator[list[QueuedEvent]]:
    """Split items where that matters: metrics that follow each other stay together, the rest comes one by one."""
    for is_metrics, group in groupby(items, lambda item: item.event.get("event") == "metrics"):
        together = list(group)
        yield from [together] if is_metrics else [[item] for item in together]


def merged(batch: Sequence[QueuedEvent]) -> Iterator[dict[str, Any]]:
    """The events of a batch, metrics of one run as one event."""
    runs: dict[tuple[str, ...], dict[str, Any]] = {}
    for event in (item.event for item in batch):
        if event["event"] != "metrics":
            yield event
            continue
        run = runs.setdefault((event["recipe"], event["release"], event["id"]), {**event, "points": []})
        run["points"] += event["points"]
    yield from runs.values()


def _queued_events(file: Path, start: int) -> list[QueuedEvent]:
    """Complete lines of one file from `start`, at least one if there is any, about `READ_BYTES` at most."""
    items = []
    with file.open("rb") as lines:
        lines.seek(start)
        for line in iter(lines.readline, b""):
            if not line.endswith(b"\n"):
                break  # still being written, or its writer died in the middle of it
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
