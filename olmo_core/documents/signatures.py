"""Signatures of the documents of one shard, by which `corpus` finds documents that are nearly equal.

`signatures.bin` holds uint64 hashes, (documents, bands), and can be memory-mapped.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.documents.document import read_documents
from olmo_core.documents.minhash import MinHashConfig, band_hashes
from olmo_core.documents.shard import DOCUMENTS_FILE, read_report

SIGNATURES_VERSION = 1
SIGNATURES_FILE = "signatures.bin"
_PROGRESS_DOCUMENTS = 1000


def signatures_step(documents: Step, config: MinHashConfig) -> Step:
    """Return the step that computes the signatures of a shard."""
    return Step(
        kind="signatures",
        name=documents.name,
        version=SIGNATURES_VERSION,
        fields=config.model_dump(mode="json"),
        inputs={"documents": documents},
        work=make_signatures,
    )


def make_signatures(job: Job) -> dict[str, Any]:
    """Write `signatures.bin`; return the number of documents."""
    config = MinHashConfig.model_validate(job.fields)
    folder = job.inputs["documents"].path
    total = read_report(folder)["documents"]
    found = np.empty((total, config.bands), dtype=np.uint64)
    for row, document in enumerate(read_documents(folder / DOCUMENTS_FILE)):
        found[row] = band_hashes(document.text, config)
        if row % _PROGRESS_DOCUMENTS == 0:
            job.progress(row, total, "documents")
    job.progress(total, total, "documents")
    found.tofile(job.out / SIGNATURES_FILE)
    return {"documents": total}


def read_signatures(folder: Path, bands: int) -> NDArray[np.uint64]:
    """Return the signatures of a shard, memory-mapped: (documents, bands).

    Raises:
        ValueError: the file ends in the middle of a row.
    """
    path = folder / SIGNATURES_FILE
    size, row = path.stat().st_size, 8 * bands
    if size % row:
        raise ValueError(f"{path} has {size} bytes, not a multiple of {row}; make the step again")
    found = np.memmap(path, dtype=np.uint64, mode="r") if size else np.empty(0, dtype=np.uint64)
    return found.reshape(-1, bands)
