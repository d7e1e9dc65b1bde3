"""An item of a task, and the file with all items of the task: `requests.jsonl.gz`, one JSON object per line.

`task` and `task_archive` produce the items; `scorer` scores them.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instance:
    """A question with its possible answers, as text ready to score.

    Attributes:
        task: `<name>:<form>`, such as `arc_easy:rc_0shot`.
        id: index of the item in its source.
        contexts: text before each choice; usually the same for all.
        choices: the continuations, with their leading space; a single one if the task scores only the right answer.
        gold: index of the right choice.
        unconditional: text before every choice in the requests without the question; None if they are not wanted.
    """

    task: str
    id: int
    contexts: tuple[str, ...]
    choices: tuple[str, ...]
    gold: int
    unconditional: str | None = None

    def __post_init__(self) -> None:
        """Refuse an item that cannot be scored."""
        if not self.choices or len(self.choices) != len(self.contexts):
            raise ValueError(f"{self._where}: {len(self.choices)} choices for {len(self.contexts)} contexts")
        if not 0 <= self.gold < len(self.choices):
            raise ValueError(f"{self._where}: gold is {self.gold}, but there are {len(self.choices)} choices")
        if not all(self.choices):
            raise ValueError(f"{self._where}: choice {self.choices.index('')} is empty; nothing can be scored")

    @property
    def _where(self) -> str:
        return f"task {self.task}, item {self.id}"


def write_instances(path: Path, instances: Iterable[Instance]) -> None:
    """Write one JSON line per instance; equal instances give equal bytes."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as out:
        for instance in instances:
            out.write(json.dumps(asdict(instance), sort_keys=True, ensure_ascii=False).encode() + b"\n")


def read_instances(path: Path) -> Iterator[Instance]:
    """Yield the instances of a task's file in order."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line)
            yield Instance(**{**fields, "contexts": tuple(fields["contexts"]), "choices": tuple(fields["choices"])})
