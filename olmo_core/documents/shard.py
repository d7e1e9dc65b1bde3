"""One shard of a corpus: its part of the source's documents, cleaned, with the digests that `corpus` needs.

A shard does not depend on other shards or on what is held out: a change of those does not read the source again.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job, Progress, silent
from olmo_core.documents.digests import digest_row
from olmo_core.documents.document import Document, DocumentWriter, clean
from olmo_core.documents.listing import File
from olmo_core.documents.pieces import by_address, pieces_of
from olmo_core.documents.sources.files import BadRow, FileSource
from olmo_core.documents.sources.jsonl import JsonlSource
from olmo_core.documents.sources.olmo_tasks import OlmoTasksSource
from olmo_core.documents.sources.parquet import ParquetSource
from olmo_core.documents.sources.pythonbible import PythonBibleSource
from olmo_core.documents.sources.restructured import RestructuredSource
from olmo_core.documents.sources.separated import SeparatedSource
from olmo_core.documents.sources.shipped import ShippedSource
from olmo_core.documents.sources.source import CountedSource
from olmo_core.documents.sources.text import TextSource
from olmo_core.documents.sources.wikipedia import WikipediaSource

DOCUMENTS_VERSION = 1
DOCUMENTS_FILE = "shard.jsonl.gz"
DIGESTS_FILE = "digests.bin"
REPORT_FILE = "report.json"
_PROGRESS_DOCUMENTS = 1000
_SHOWN_PLACES = 10

Source = Annotated[
    WikipediaSource
    | RestructuredSource
    | PythonBibleSource
    | OlmoTasksSource
    | ShippedSource
    | JsonlSource
    | ParquetSource
    | SeparatedSource
    | TextSource,
    Field(discriminator="reader"),
]


class DocumentsConfig(BaseModel):
    """How the documents of a source are read, cleaned and divided into shards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Source = Field(description="The reader, and what it reads.")
    min_characters: int = Field(1, ge=1, description="Shorter documents are dropped and counted.")
    shards: int = Field(
        1,
        ge=1,
        description="Parts in which the documents are read and tokenized, in parallel; `source.shard_bytes` for files.",
    )

    @model_validator(mode="after")
    def _one_way_to_cut(self) -> Self:
        if isinstance(self.source, FileSource) and self.shards != 1:
            raise ValueError(f"shards is {self.shards}; files are cut by source.shard_bytes, leave shards out")
        return self


def documents_steps(
    name: str, config: DocumentsConfig, packages: Mapping[str, Step], files: Sequence[File] = ()
) -> list[Step]:
    """Return the steps that read the shards of the corpus `name`.

    Args:
        name: name of the corpus.
        config: its source, and how that is divided.
        packages: the recipe's package steps by name.
        files: the files of a source of files, as listed now.

    Raises:
        ValueError: the source reads a package that the recipe does not list.
    """
    for role in config.source.packages:
        if role not in packages:
            raise ValueError(
                f"corpora.{name}.source.package: no package {role!r} in the recipe; it lists {sorted(packages)}"
            )
    return [
        Step(
            kind="documents",
            name=f"{name}-{shard:05d}",
            version=DOCUMENTS_VERSION,
            fields=fields,
            inputs={role: packages[role] for role in config.source.packages},
            work=make_documents,
        )
        for shard, fields in enumerate(_declared(config, files))
    ]


def _declared(config: DocumentsConfig, files: Sequence[File]) -> Iterator[dict[str, Any]]:
    """Yield what decides the bytes of each shard: its number of how many, or its pieces of files."""
    if isinstance(config.source, FileSource):
        source = config.source.model_dump(mode="json", exclude=config.source.LISTED)
        for pieces in config.source.shards(files):
            yield {"source": source, "min_characters": config.min_characters, "files": by_address(pieces)}
    else:
        whole = config.model_dump(mode="json", include=set(DocumentsConfig.model_fields))
        yield from ({**whole, "shard": shard} for shard in range(config.shards))


def make_documents(job: Job) -> dict[str, Any]:
    """Write `shard.jsonl.gz`, `digests.bin` and `report.json`; return the report.

    Raises:
        ValueError: the source cannot be read.
    """
    declared = dict(job.fields)
    if "files" in declared:
        pieces = pieces_of(declared.pop("files"))
        declared["source"] = {**declared["source"], "paths": [piece.address for piece in pieces]}
        config = DocumentsConfig.model_validate(declared)
        documents = cast(FileSource, config.source).documents(pieces)
    else:
        shard = int(declared.pop("shard"))
        config = DocumentsConfig.model_validate(declared)
        archives = {role: package.path / package.step.fields["filename"] for role, package in job.inputs.items()}
        documents = cast(CountedSource, config.source).read_shard(archives, shard, config.shards)
    return write_shard(job.out, documents, config.min_characters, job.progress)


def write_shard(
    folder: Path, documents: Iterable[Document | BadRow], min_characters: int = 1, progress: Progress = silent
) -> dict[str, Any]:
    """Clean documents and write them as the files of a shard; return the report.

    The report counts the rows read, dropped by reason (with the places of the first ones) and written, and the bytes of
    text written.
    """
    dropped: Counter[str] = Counter()
    places: dict[str, list[str]] = {}
    read = 0
    with DocumentWriter(folder / DOCUMENTS_FILE) as kept, (folder / DIGESTS_FILE).open("wb") as digests:
        for read, row in enumerate(documents, start=1):
            if isinstance(row, BadRow):
                dropped[row.reason] += 1
                if dropped[row.reason] <= _SHOWN_PLACES:
                    places.setdefault(row.reason, []).append(f"{row.where}: {row.detail}")
            elif len((document := clean(row)).text) < min_characters:
                dropped["shorter than min_characters"] += 1
            else:
                kept.write(document)
                digests.write(digest_row(document))
            if read % _PROGRESS_DOCUMENTS == 0:
                progress(read, read, "documents")
    progress(read, read, "documents")
    report = {
        "documents_read": read,
        "dropped": dict(sorted(dropped.items())),
        "documents": kept.documents,
        "bytes": kept.bytes,
        **({"bad_rows": places} if places else {}),
    }
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    return report


def read_report(folder: Path) -> dict[str, Any]:
    """Return the report of a shard or of a corpus."""
    report: dict[str, Any] = json.loads((folder / REPORT_FILE).read_bytes())
    return report
