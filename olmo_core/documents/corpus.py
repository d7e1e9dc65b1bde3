"""A corpus: which documents of its shards are trained on, held out, duplicates, or dropped by a filter.

Digests and tags of the documents decide this over all shards at once; only held-out documents are read as text, and a
few of those that filters drop, as examples. A document's own digest decides whether it is held out, so the decision is
the same on every machine and in every corpus with the same salt: a passage held out of one corpus is held out of all.
`shard` reads and cleans the documents.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from olmo_core.artifact.identity import Step, unused
from olmo_core.artifact.job import Artifact, Job
from olmo_core.documents.digests import read_digests
from olmo_core.documents.document import HELDOUT_FILE, Document, DocumentWriter, read_documents
from olmo_core.documents.filters.filter import Limits
from olmo_core.documents.kept import read_kept, write_kept
from olmo_core.documents.listing import File
from olmo_core.documents.minhash import MinHashConfig
from olmo_core.documents.selection import select
from olmo_core.documents.shard import (
    DIGESTS_FILE,
    DOCUMENTS_FILE,
    REPORT_FILE,
    DocumentsConfig,
    documents_steps,
    read_report,
)
from olmo_core.documents.signatures import read_signatures, signatures_step
from olmo_core.documents.tags import read_tags, tags_step
from olmo_core.documents.verdict import filter_report, resolved

CORPUS_VERSION = 4
MIN_HELDOUT = 2  # Documents of each source that the confidence interval of a decision needs.


class CorpusConfig(DocumentsConfig):
    """A source of documents, how it is cleaned, and how much of it is held out."""

    licence: str = Field(description="Licence of the text, as an SPDX expression if possible.", min_length=1)
    heldout: float = Field(0.02, ge=0, lt=1, description="Share of the documents held out for evaluation.")
    salt: str | None = Field(
        None,
        description="A different salt holds out different documents; corpora that may overlap need the same one.",
        exclude_if=unused,
    )
    filters: dict[str, dict[str, Limits]] = Field(
        default_factory=dict,
        description="Filter → value → limits in place of the published ones; `{}` has the published limits.",
        exclude_if=lambda given: not given,
    )
    near_duplicates: MinHashConfig | None = Field(
        None,
        description="Keep one of several documents that are nearly equal, the first; all if not given.",
        exclude_if=unused,
    )

    @model_validator(mode="after")
    def _filters_are_known(self) -> Self:
        resolved(self.filters)
        return self


def corpus_step(name: str, config: CorpusConfig, packages: Mapping[str, Step], files: Sequence[File] = ()) -> Step:
    """Return the step that makes the corpus `name` from its shards.

    Args:
        name: name of the corpus.
        config: its source, and what is held out.
        packages: the recipe's package steps by name.
        files: the files of a source of files, as listed now.

    Raises:
        ValueError: the source reads a package that the recipe does not list.
    """
    shards = documents_steps(name, config, packages, files)
    measured = {
        **{f"tags/{each}": [tags_step(shard, each) for shard in shards] for each in config.filters},
        **(
            {"signatures": [signatures_step(shard, config.near_duplicates) for shard in shards]}
            if config.near_duplicates
            else {}
        ),
    }
    filters = {"filters": resolved(config.filters)} if config.filters else {}
    return Step(
        kind="corpus",
        name=name,
        version=CORPUS_VERSION,
        fields={**config.model_dump(mode="json", exclude={*DocumentsConfig.model_fields, "filters"}), **filters},
        inputs={
            _role(what, number): step
            for what, steps in {"documents": shards, **measured}.items()
            for number, step in enumerate(steps)
        },
        work=make_corpus,
    )


def shards_of(corpus: Step) -> list[Step]:
    """Return the `documents` steps of a corpus, in order."""
    return [step for role, step in sorted(corpus.inputs.items()) if role.startswith("documents/")]


def make_corpus(job: Job) -> dict[str, Any]:
    """Write `heldout.jsonl.gz`, `kept-*.bits` and `report.json`; return the report.

    Raises:
        ValueError: a shard or the held-out part would be too small, or the files of a shard are from different runs.
    """
    folders = _folders(job, "documents")
    digests = [read_digests(folder / DIGESTS_FILE) for folder in folders]
    bounds = np.cumsum([len(shard) for shard in digests])[:-1]
    chosen = select(np.concatenate(digests), job.fields, _tags(job), _signatures(job))
    train = []
    with DocumentWriter(job.out / HELDOUT_FILE) as heldout:
        of_shards = zip(folders, digests, np.split(chosen.kept, bounds), np.split(chosen.heldout, bounds), strict=True)
        for shard, (folder, rows, own_kept, own_apart) in enumerate(of_shards):
            write_kept(job.out, shard, own_kept)
            train.append({"documents": int(own_kept.sum()), "bytes": int(rows["bytes"][own_kept].sum())})
            if own_apart.any():
                for document in read_documents(folder / DOCUMENTS_FILE, own_apart):
                    heldout.write(document)
            job.progress(shard + 1, len(folders), "shards")
    dropped = Counter(chosen.dropped)
    reports = [read_report(folder) for folder in folders]
    for report in reports:
        dropped.update(report["dropped"])
    whole = {
        "licence": job.fields["licence"],
        "documents_read": sum(report["documents_read"] for report in reports),
        "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
        "train": train,
        "heldout": {"documents": heldout.documents, "bytes": heldout.bytes},
    }
    if chosen.verdict.by_rule:
        whole["filters"] = filter_report(chosen.verdict, [folder / DOCUMENTS_FILE for folder in folders], bounds)
    _check_accounts(job.step.label, whole)
    _check_parts(
        job.step.name, float(job.fields["heldout"]), [shard["documents"] for shard in train], heldout.documents
    )
    (job.out / REPORT_FILE).write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n")
    return whole


def training_inputs(role: str, corpus: Step) -> dict[str, Step]:
    """Return the inputs of a step that calls `read_training` with this role to read a corpus's training documents."""
    return {
        role: corpus,
        **{f"{role}/{_role('documents', shard)}": step for shard, step in enumerate(shards_of(corpus))},
    }


def read_training(inputs: Mapping[str, Artifact], role: str) -> Iterator[Document]:
    """Yield the training documents of a corpus, shard by shard; `inputs` are a job's, see `training_inputs`."""
    corpus = inputs[role]
    for shard in range(len(shards_of(corpus.step))):
        yield from read_kept(corpus.path, inputs[f"{role}/{_role('documents', shard)}"].path, shard)


def read_heldout(folder: Path) -> list[Document]:
    """Return the held-out documents of a corpus artifact."""
    return list(read_documents(folder / HELDOUT_FILE))


def _role(what: str, shard: int) -> str:
    return f"{what}/{shard:05d}"


def _folders(job: Job, what: str) -> list[Path]:
    """Return the folder of what was made of each shard: `documents`, `signatures`, or `tags/<filter>`."""
    return [job.inputs[_role(what, shard)].path for shard in range(len(shards_of(job.step)))]


def _tags(job: Job) -> dict[str, NDArray[np.float64]]:
    return {
        name: np.concatenate([read_tags(folder, len(limits)) for folder in _folders(job, f"tags/{name}")])
        for name, limits in job.fields.get("filters", {}).items()
    }


def _signatures(job: Job) -> NDArray[np.uint64] | None:
    config = job.fields.get("near_duplicates")
    if config is None:
        return None
    return np.concatenate([read_signatures(folder, config["bands"]) for folder in _folders(job, "signatures")])


def _check_accounts(label: str, report: Mapping[str, Any]) -> None:
    """Check that every document read is trained on, held out, or dropped for a reason."""
    kept, heldout = sum(shard["documents"] for shard in report["train"]), report["heldout"]["documents"]
    accounted = kept + heldout + sum(report["dropped"].values())
    if accounted != report["documents_read"]:
        raise ValueError(
            f"{label}: {report['documents_read']} documents were read, {accounted} are accounted for: {kept} kept, "
            f"{heldout} held out, dropped {report['dropped']}; the digests and documents of a shard are from "
            "different runs, make them again"
        )


def _check_parts(name: str, share: float, shards: list[int], heldout: int) -> None:
    if share and heldout < MIN_HELDOUT:
        raise ValueError(
            f"corpora.{name}.heldout: {share} of {sum(shards) + heldout} documents holds out {heldout or 'none'}, "
            f"an interval needs {MIN_HELDOUT}; give a larger share, or 0 for a corpus that is not evaluated"
        )
    if not all(shards):
        raise ValueError(
            f"corpora.{name}: {len(shards)} shards of {sum(shards)} documents leave one empty; give fewer shards, or "
            "larger ones (source.shard_bytes)"
        )
