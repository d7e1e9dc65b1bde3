"""What the filters of a corpus say: which documents pass, and for which reason each of the others is dropped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olmo_core.documents.document import read_documents
from olmo_core.documents.filters.filter import Limits
from olmo_core.documents.filters.table import FILTERS

_EXAMPLES, _EXAMPLE_CHARACTERS = 3, 200


@dataclass(frozen=True)
class Verdict:
    """The decision of all filters over all shards of a corpus.

    Attributes:
        passed: (documents,) which documents no filter drops.
        dropped: reason -> (n,) rows of the documents dropped for it; each is in the first reason it meets.
        by_rule: reason -> number of documents outside its limits, whatever the others say.
    """

    passed: NDArray[np.bool_]
    dropped: Mapping[str, NDArray[np.int64]]
    by_rule: Mapping[str, int]


def resolved(given: Mapping[str, Mapping[str, Limits]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the limits of every filter that a corpus uses: the published ones, with those given in their place.

    Raises:
        ValueError: there is no such filter or value; names those there are.
    """
    whole: dict[str, dict[str, dict[str, float]]] = {}
    for name, limits in given.items():
        if name not in FILTERS:
            raise ValueError(f"filters.{name}: no such filter; there are {', '.join(FILTERS)}")
        known = FILTERS[name].limits
        if unknown := limits.keys() - known.keys():
            raise ValueError(f"filters.{name}.{min(unknown)}: no such value; it measures {', '.join(known)}")
        whole[name] = {
            value: limits.get(value, published).model_dump(exclude_none=True) for value, published in known.items()
        }
    return whole


def judge(
    documents: int, filters: Mapping[str, Mapping[str, Mapping[str, Any]]], tags: Mapping[str, NDArray[np.float64]]
) -> Verdict:
    """Return the verdict on the documents of a corpus.

    Args:
        documents: number of documents in all shards.
        filters: filter -> value -> limits, in the order of the filter's values.
        tags: filter -> (documents, values).
    """
    passed = np.ones(documents, dtype=bool)
    dropped: dict[str, NDArray[np.int64]] = {}
    by_rule: dict[str, int] = {}
    for name in sorted(filters):
        for column, value in enumerate(FILTERS[name].limits):
            outside = Limits.model_validate(filters[name][value]).outside(tags[name][:, column])
            reason = f"{name} {value}"
            by_rule[reason] = int(outside.sum())
            dropped[reason] = np.flatnonzero(outside & passed)
            passed &= ~outside
    return Verdict(passed, dropped, by_rule)


def filter_report(verdict: Verdict, files: Sequence[Path], bounds: NDArray[np.int64]) -> dict[str, Any]:
    """Return, for each rule that finds documents, how many it finds, how many it is the first to drop, and examples.

    Args:
        verdict: the verdict on the documents of all shards.
        files: the documents of each shard.
        bounds: row at which each shard after the first begins.
    """
    reasons = {int(row): reason for reason, rows in verdict.dropped.items() for row in rows[:_EXAMPLES]}
    chosen = np.zeros_like(verdict.passed)
    chosen[list(reasons)] = True
    in_order = iter([reasons[row] for row in sorted(reasons)])
    examples: dict[str, list[str]] = {}
    for file, own in zip(files, np.split(chosen, bounds), strict=True):
        for document in read_documents(file, own) if own.any() else ():
            line = " ".join(document.text[:_EXAMPLE_CHARACTERS].split())
            examples.setdefault(next(in_order), []).append(f"{document.id}: {line}")
    return {
        reason: {"found": count, "dropped": len(verdict.dropped[reason]), "examples": examples.get(reason, [])}
        for reason, count in verdict.by_rule.items()
        if count
    }
