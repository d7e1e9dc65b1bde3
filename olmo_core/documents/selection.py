"""Which documents of a corpus are trained on and which are held out, and why each of the others is dropped.

Decided over all shards at once, in this order: filters, equal texts, nearly equal texts, held out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olmo_core.documents.digests import held_out, repeated
from olmo_core.documents.near_duplicates import near_duplicates
from olmo_core.documents.verdict import Verdict, judge


@dataclass(frozen=True)
class Selection:
    """The decision over all documents of a corpus, in the order of its shards.

    Attributes:
        kept: (documents,) which are trained on.
        heldout: (documents,) which are held out.
        verdict: what the filters say.
        dropped: reason -> number of documents.
    """

    kept: NDArray[np.bool_]
    heldout: NDArray[np.bool_]
    verdict: Verdict
    dropped: Mapping[str, int]


def select(
    digests: NDArray[Any],
    fields: Mapping[str, Any],
    tags: Mapping[str, NDArray[np.float64]],
    signatures: NDArray[np.uint64] | None,
) -> Selection:
    """Return the selection.

    Args:
        digests: (documents,) of `DIGEST`.
        fields: declared fields of the corpus: `heldout`, `salt`, `filters`.
        tags: filter -> (documents, values).
        signatures: (documents, bands); none where nearly equal documents are kept.
    """
    verdict = judge(len(digests), fields.get("filters", {}), tags)
    kept = verdict.passed.copy()
    dropped = {reason: len(rows) for reason, rows in verdict.dropped.items()}
    duplicates = _among(kept, repeated([digests[kept]]))
    kept &= ~duplicates
    dropped["duplicate"] = int(duplicates.sum())
    if signatures is not None:
        near = _among(kept, near_duplicates(signatures[kept]))
        kept &= ~near
        dropped["near duplicate"] = int(near.sum())
    heldout = held_out(digests["place"], float(fields["heldout"]), fields.get("salt")) & kept
    return Selection(kept & ~heldout, heldout, verdict, dropped)


def _among(chosen: NDArray[np.bool_], found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what was found among the chosen documents as a mask over all documents."""
    whole = np.zeros_like(chosen)
    whole[chosen] = found
    return whole
