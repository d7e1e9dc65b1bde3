"""Measures every document of a shard by a function of its text, with progress."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from olmo_core.artifact.job import Job
from olmo_core.documents.document import read_documents
from olmo_core.documents.shard import DOCUMENTS_FILE, read_report

_PROGRESS_DOCUMENTS = 1000


def measured(job: Job, columns: int, dtype: DTypeLike, measure: Callable[[str], ArrayLike]) -> NDArray[Any]:
    """Return what `measure` returns for the text of each document of the input `documents`: (documents, columns)."""
    folder = job.inputs["documents"].path
    total = read_report(folder)["documents"]
    values: NDArray[Any] = np.empty((total, columns), dtype=dtype)
    for row, document in enumerate(read_documents(folder / DOCUMENTS_FILE)):
        values[row] = measure(document.text)
        if row % _PROGRESS_DOCUMENTS == 0:
            job.progress(row, total, "documents")
    job.progress(total, total, "documents")
    return values
