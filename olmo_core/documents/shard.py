"""One shard of a corpus: its part of the source's documents, cleaned, with the digests that `corpus` needs.

A shard does not depend on other shards or on what is held out: a change of those does not read the source again.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job, Progress, silent
from olmo_core.documents.digests import digest_row
from olmo_core.documents.document import Document, DocumentWriter, clean
from olmo_core.documents.sources.olmo_tasks import OlmoTasksSource
from olmo_core.documents.sources.pythonbible import PythonBibleSource
from olmo_core.documents.sources.restructured import RestructuredSource
from olmo_core.documents.sources.shipped import ShippedSource
from olmo_core.documents.sources.wikipedia import WikipediaSource

DOCUMENTS_VERSION = 1
DOCUMENTS_FILE = "shard.jsonl.gz"
DIGESTS_FILE = "digests.bin"
REPORT_FILE = "report.json"
_PROGRESS_DOCUMENTS = 1000

Source = Annotated[
    WikipediaSource | RestructuredSource | PythonBibleSource | OlmoTasksSource | ShippedSource,
    Field(discriminator="reader"),
]


class DocumentsConfig(BaseModel):
    """How the documents of a source are read, cleaned and divided into shards."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Source = Field(description="The reader, and what it reads.")
    min_characters: int = Field(1, ge=1, description="Shorter documents are dropped and counted.")
    shards: int = Field(1, ge=1, description="Parts in which the documents are read and tokenized, in parallel.")


def documents_step(name: str, config: DocumentsConfig, shard: int, packages: Mapping[str, Step]) -> Step:
    """Return the step that reads one shard of the corpus `name`; `packages` are the recipe's package steps by name.

    Raises:
        ValueError: the source reads a package that the recipe does not list.
    """
    for role in config.source.packages:
        if role not in packages:
            raise ValueError(
                f"corpora.{name}.source.package: no package {role!r} in the recipe; it lists {sorted(packages)}"
            )
    return Step(
        kind="documents",
        name=f"{name}-{shard:05d}",
        version=DOCUMENTS_VERSION,
        fields={**config.model_dump(mode="json", include=set(DocumentsConfig.model_fields)), "shard": shard},
        inputs={role: packages[role] for role in config.source.packages},
        work=make_documents,
    )


def make_documents(job: Job) -> dict[str, Any]:
    """Write `shard.jsonl.gz`, `digests.bin` and `report.json`; return the report.

    Raises:
        ValueError: the source cannot be read.
    """
    config = DocumentsConfig.model_validate({key: value for key, value in job.fields.items() if key != "shard"})
    archives = {role: package.path / package.step.fields["filename"] for role, package in job.inputs.items()}
    documents = config.source.read_shard(archives, int(job.fields["shard"]), config.shards)
    return write_shard(job.out, documents, config.min_characters, job.progress)


def write_shard(
    folder: Path, documents: Iterable[Document], min_characters: int = 1, progress: Progress = silent
) -> dict[str, Any]:
    """Clean documents and write them as the files of a shard; return the report.

    The report counts the documents read, dropped by reason and written, and the bytes of text written.
    """
    dropped: Counter[str] = Counter()
    read = 0
    with DocumentWriter(folder / DOCUMENTS_FILE) as kept, (folder / DIGESTS_FILE).open("wb") as digests:
        for read, document in enumerate(map(clean, documents), start=1):
            if len(document.text) < min_characters:
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
    }
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    return report


def read_report(folder: Path) -> dict[str, Any]:
    """Return the report of a shard or of a corpus."""
    report: dict[str, Any] = json.loads((folder / REPORT_FILE).read_bytes())
    return report
