"""Signatures of the documents of one shard, by which `corpus` finds documents that are nearly equal.

`signatures.bin` holds uint64 hashes, (documents, bands), and can be memory-mapped.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.documents.measurement import measured
from olmo_core.documents.minhash import MinHashConfig, band_hashes
from olmo_core.documents.rows import read_rows

SIGNATURES_VERSION = 1
SIGNATURES_FILE = "signatures.bin"


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
    found = measured(job, config.bands, np.uint64, lambda text: band_hashes(text, config))
    found.tofile(job.out / SIGNATURES_FILE)
    return {"documents": len(found)}


def read_signatures(folder: Path, bands: int) -> NDArray[np.uint64]:
    """Return the signatures of a shard, memory-mapped: (documents, bands).

    Raises:
        ValueError: the file ends in the middle of a row.
    """
    return read_rows(folder / SIGNATURES_FILE, np.uint64, bands)
