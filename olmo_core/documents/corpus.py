"""A corpus: the documents of one source, cleaned, without duplicates, its held-out part set apart before anything else.

Where a document lands is decided by its digest alone, so it lands there on every machine and in every corpus with the
same salt: a passage that is held out of one corpus is held out of all. Reading a source is left to its reader.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.documents.document import HELDOUT_FILE, Document, DocumentWriter, digest, read_documents, sanitise
from olmo_core.documents.sources.olmo_tasks import OlmoTasksSource
from olmo_core.documents.sources.pythonbible import PythonBibleSource
from olmo_core.documents.sources.restructured import RestructuredSource
from olmo_core.documents.sources.shipped import ShippedSource
from olmo_core.documents.sources.wikipedia import WikipediaSource

CORPUS_VERSION = 3
MIN_HELDOUT = 2  # Documents that the interval of a decision needs of a source.
REPORT_FILE = "report.json"
_PROGRESS_DOCUMENTS = 1000

Source = Annotated[
    WikipediaSource | RestructuredSource | PythonBibleSource | OlmoTasksSource | ShippedSource,
    Field(discriminator="reader"),
]


class CorpusConfig(BaseModel):
    """One source of documents, and how it is cleaned and divided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Source = Field(description="Reader, and what it reads.")
    licence: str = Field(description="Licence of the text, as an SPDX expression if possible.", min_length=1)
    min_characters: int = Field(1, ge=1, description="Shorter documents are dropped and counted.")
    heldout: float = Field(0.02, ge=0, lt=1, description="Share of the documents held out for evaluation.")
    salt: str = Field(
        "heldout", description="Decides which documents are held out; give corpora that may overlap the same."
    )
    shards: int = Field(1, ge=1, description="Files that the training documents are divided into.")


def shard_file(shard: int) -> str:
    """Name of the training documents of one shard in a corpus artifact."""
    return f"train-{shard:05d}.jsonl.gz"


def corpus_step(name: str, config: CorpusConfig, packages: Mapping[str, Step]) -> Step:
    """The step that makes the corpus `name`; `packages` are the recipe's package steps by name.

    Raises:
        ValueError: when the source reads a package the recipe does not list.
    """
    inputs = {}
    if not isinstance(config.source, ShippedSource):
        role = config.source.package
        if role not in packages:
            raise ValueError(
                f"corpora.{name}.source.package: no package {role!r} in the recipe; it lists {sorted(packages)}"
            )
        inputs[role] = packages[role]
    return Step(
        kind="corpus",
        name=name,
        version=CORPUS_VERSION,
        fields=config.model_dump(mode="json"),
        inputs=inputs,
        work=make_corpus,
    )


def make_corpus(job: Job) -> dict[str, Any]:
    """Write `train-*.jsonl.gz`, `heldout.jsonl.gz` and `report.json`; returns the report.

    Raises:
        ValueError: when a part that was asked for would be empty, or a source cannot be read.
    """
    config = CorpusConfig.model_validate(job.fields)
    seen: set[bytes] = set()
    dropped: Counter[str] = Counter()
    read = 0
    with ExitStack() as files:
        heldout = files.enter_context(DocumentWriter(job.out / HELDOUT_FILE))
        shards = [files.enter_context(DocumentWriter(job.out / shard_file(i))) for i in range(config.shards)]
        for document in _documents(config, job):
            read += 1
            if read % _PROGRESS_DOCUMENTS == 0:
                job.progress(read, read, "documents")
            clean = Document(document.id, sanitise(document.text), document.group)
            apart, shard = divide(clean, config)
            if reason := _reason_to_drop(clean, config, seen):
                dropped[reason] += 1
            else:
                (heldout if apart else shards[shard]).write(clean)
    job.progress(read, read, "documents")
    report = {
        "licence": config.licence,
        "documents_read": read,
        "dropped": dict(sorted(dropped.items())),
        "train": [{"documents": shard.documents, "bytes": shard.bytes} for shard in shards],
        "heldout": {"documents": heldout.documents, "bytes": heldout.bytes},
    }
    _check_parts(job.step.name, config, [shard.documents for shard in shards], heldout.documents)
    (job.out / REPORT_FILE).write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    return report


def read_report(folder: Path) -> dict[str, Any]:
    """The report of a corpus artifact."""
    report: dict[str, Any] = json.loads((folder / REPORT_FILE).read_bytes())
    return report


def read_training(folder: Path) -> Iterator[Document]:
    """Yield the training documents of a corpus artifact, shard after shard."""
    for shard in range(len(read_report(folder)["train"])):
        yield from read_documents(folder / shard_file(shard))


def divide(document: Document, config: CorpusConfig) -> tuple[bool, int]:
    """Whether the document is held out, and the shard it belongs to if not; a function of its group or text alone."""
    key = digest(document.group or document.text, config.salt)
    apart = int.from_bytes(key[:8], "big") < config.heldout * 2**64
    return apart, int.from_bytes(key[8:16], "big") % config.shards


def _documents(config: CorpusConfig, job: Job) -> Iterator[Document]:
    if isinstance(config.source, ShippedSource):
        return config.source.documents()
    package = job.inputs[config.source.package]
    return config.source.documents(Path(package.path) / package.step.fields["filename"])


def _reason_to_drop(document: Document, config: CorpusConfig, seen: set[bytes]) -> str | None:
    """Why a document is left out, if it is. The first of several equal texts stays, so none is on both sides."""
    if len(document.text) < config.min_characters:
        return "shorter than min_characters"
    text_digest = digest(document.text)
    if text_digest in seen:
        return "duplicate"
    seen.add(text_digest)
    return None


def _check_parts(name: str, config: CorpusConfig, shards: list[int], heldout: int) -> None:
    if config.heldout and heldout < MIN_HELDOUT:
        raise ValueError(
            f"corpora.{name}.heldout: {config.heldout} of {sum(shards) + heldout} documents sets {heldout or 'none'} "
            f"apart, an interval needs {MIN_HELDOUT}; give a larger share, or 0 for a corpus that is not evaluated"
        )
    if not all(shards):
        raise ValueError(
            f"corpora.{name}.shards: {config.shards} shards for {sum(shards)} documents leave one empty; give fewer"
        )
