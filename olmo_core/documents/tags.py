"""Tags: the values that a filter measures on the documents of one shard, one row for each.

`tags.bin` holds float64 values, (documents, values), and can be memory-mapped. `corpus` decides by them.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.documents.filters.table import FILTERS
from olmo_core.documents.measurement import measured
from olmo_core.documents.rows import read_rows
from olmo_core.documents.shard import REPORT_FILE

TAGS_VERSION = 1
TAGS_FILE = "tags.bin"
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def tags_step(documents: Step, name: str) -> Step:
    """Return the step that measures a shard by the filter `name`."""
    corpus, _, shard = documents.name.rpartition("-")
    return Step(
        kind="tags",
        name=f"{corpus}-{name}-{shard}",
        version=TAGS_VERSION,
        fields={"filter": name, "filter_version": FILTERS[name].version},
        inputs={"documents": documents},
        work=make_tags,
    )


def make_tags(job: Job) -> dict[str, Any]:
    """Write `tags.bin` and `report.json`; return the report: the spread of every value."""
    found = FILTERS[job.fields["filter"]]
    values = measured(job, len(found.limits), np.float64, found.measure)
    values.tofile(job.out / TAGS_FILE)
    report = {
        "documents": len(values),
        "quantiles": {name: _spread(own) for name, own in zip(found.limits, values.T, strict=True)},
    }
    (job.out / REPORT_FILE).write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    return report


def read_tags(folder: Path, values: int) -> NDArray[np.float64]:
    """Return the tags of a shard, memory-mapped: (documents, values).

    Raises:
        ValueError: the file ends in the middle of a row.
    """
    return read_rows(folder / TAGS_FILE, np.float64, values)


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    return {
        f"{share:g}": float(value) for share, value in zip(_QUANTILES, np.quantile(values, _QUANTILES), strict=True)
    }
