"""Step `decision`: what `main` of a release is, and why, from held-out bits per byte of every candidate.

The soup is compared with the mean of its ingredients and with the best of them, document by document; the interval is
of a paired bootstrap over documents and says nothing about other seeds. Making the numbers is left to `evaluate`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.evaluate.statistics import paired_interval
from olmo_core.evaluate.step import DOCUMENTS_FILE
from olmo_core.evaluate.table import HeldoutRow, read_table, rounded

DECISION_VERSION = 1
DECISION_FILE = "decision.json"

Bits = dict[str, NDArray[np.float64]]  # Source -> bits of each document.


class DecisionConfig(BaseModel):
    """How candidates are compared, and which of them becomes `main`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[str, ...] | None = Field(None, description="Held-out sources to compare on; all if not given.")
    average: Literal["macro", "bytes"] = Field(
        "macro", description="`macro` weights all sources equally, `bytes` all bytes."
    )
    rule: Literal["best", "soup_over_mean"] = Field(
        "best",
        description="`best` takes the candidate with the lowest bits per byte; `soup_over_mean` the soup if it is "
        "below the mean of its ingredients, otherwise the best ingredient.",
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="Confidence level of the paired intervals.")
    resamples: int = Field(10_000, ge=100, description="Bootstrap resamples of the paired intervals.")
    seed: int = Field(0, ge=0, description="Seed of the bootstrap.")


def decision_step(
    config: DecisionConfig, candidates: Mapping[str, Step], results: Mapping[str, Step], name: str = "main"
) -> Step:
    """Return the step that chooses among `candidates` (name -> checkpoint or soup) by their `results` (same names).

    Raises:
        ValueError: a result is missing, is not of its candidate or was made another way; or there are two soups.
    """
    if not candidates or candidates.keys() != results.keys():
        raise ValueError(
            f"candidates {sorted(candidates)} need one result each, there are results of {sorted(results)}"
        )
    soups = sorted(candidate for candidate, step in candidates.items() if step.kind == "soup")
    if len(soups) > 1:
        raise ValueError(f"{', '.join(soups)} are all soups; a decision compares one soup with its ingredients")
    for candidate, result in results.items():
        if result.inputs["model"].id != candidates[candidate].id:
            raise ValueError(f"the result of {candidate} is of {result.inputs['model'].label}, not of this candidate")
    ways = {candidate: _way(result) for candidate, result in results.items()}
    reference = min(ways)
    for candidate, way in ways.items():
        if way != ways[reference]:
            raise ValueError(f"{candidate} and {reference} were evaluated in different ways; only equal ways compare")
    _sources(config, results[reference])
    inputs = {f"candidate/{candidate}": step for candidate, step in candidates.items()}
    inputs |= {f"result/{candidate}": step for candidate, step in results.items()}
    return Step("decision", name, DECISION_VERSION, config.model_dump(mode="json"), inputs, decide)


def decide(job: Job) -> dict[str, Any]:
    """Write `decision.json` and return it: `main`, `reason`, the score of every candidate, the comparisons."""
    config = DecisionConfig.model_validate(job.fields)
    roles = [role for role in job.step.inputs if role.startswith("candidate/")]
    steps = {role.removeprefix("candidate/"): job.step.inputs[role] for role in roles}
    sources = _sources(config, job.step.inputs[f"result/{min(steps)}"])
    documents = {name: _documents(job, name, sources) for name in sorted(steps)}
    bits = {name: {source: _column(rows, "bits") for source, rows in own.items()} for name, own in documents.items()}
    sizes = {source: _column(rows, "bytes") for source, rows in documents[min(steps)].items()}
    for name, own in documents.items():
        _check_paired(name, own, min(steps), documents[min(steps)])

    scores = {name: _score(config, own, sizes) for name, own in bits.items()}
    soup = next((name for name, step in steps.items() if step.kind == "soup"), None)
    ingredients = sorted(name for name in steps if name != soup)
    comparisons: dict[str, dict[str, Any]] = {}
    if soup is not None and ingredients:
        best = min(ingredients, key=lambda name: scores[name])
        mean = {source: np.mean([bits[name][source] for name in ingredients], axis=0) for source in sources}
        comparisons["soup_against_mean"] = _compare(config, bits[soup], mean, sizes)
        comparisons["soup_against_best"] = {"ingredient": best, **_compare(config, bits[soup], bits[best], sizes)}
    main = _choose(config, scores, soup, comparisons)
    decision = {
        "main": main,
        "reason": _reason(config, main, soup, scores, comparisons, sources),
        "rule": config.rule,
        "average": config.average,
        "sources": sources,
        "candidates": {
            name: {
                "kind": steps[name].kind,
                "id": steps[name].id,
                "digest": job.inputs[f"candidate/{name}"].record.digest,
                "bits_per_byte": rounded(scores[name]),
                "sources": {source: rounded(own[source].sum() / sizes[source].sum()) for source in sources},
            }
            for name, own in bits.items()
        },
        "comparisons": comparisons,
    }
    (job.out / DECISION_FILE).write_text(json.dumps(decision, indent=1, sort_keys=True) + "\n")
    return decision


def _way(result: Step) -> dict[str, Any]:
    """Everything a result's numbers depend on but its model."""
    inputs = {role: step for role, step in result.payload["inputs"].items() if role != "model"}
    return {**result.payload, "inputs": inputs}


def _sources(config: DecisionConfig, result: Step) -> list[str]:
    """The held-out sources that count."""
    known = sorted(role.removeprefix("heldout/") for role in result.inputs if role.startswith("heldout/"))
    chosen = known if config.sources is None else list(dict.fromkeys(config.sources))
    unknown = [source for source in chosen if source not in known]
    if unknown or not chosen:
        raise ValueError(f"sources of the decision: {unknown or 'none'}; the results score {known}, name some of these")
    return chosen


def _documents(job: Job, name: str, sources: list[str]) -> dict[str, list[HeldoutRow]]:
    """Rows of a candidate's table by source, in their order."""
    rows: dict[str, list[HeldoutRow]] = {source: [] for source in sources}
    for row in read_table(job.inputs[f"result/{name}"].path / DOCUMENTS_FILE):
        if isinstance(row, HeldoutRow) and row.source in rows:
            rows[row.source].append(row)
    return rows


def _check_paired(
    name: str, own: Mapping[str, list[HeldoutRow]], reference: str, others: Mapping[str, list[HeldoutRow]]
) -> None:
    for source, rows in own.items():
        if [(row.id, row.bytes) for row in rows] != [(row.id, row.bytes) for row in others[source]]:
            raise ValueError(
                f"{name} and {reference} were scored on different documents of {source}; evaluate them again"
            )
        if not rows:
            raise ValueError(f"no held-out document of {source} was scored; choose other sources for the decision")


def _column(rows: list[HeldoutRow], field: Literal["bits", "bytes"]) -> NDArray[np.float64]:
    return np.array([getattr(row, field) for row in rows], dtype=np.float64)


def _strata(config: DecisionConfig, values: Bits, sizes: Bits) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Pairs of values and bytes per document: one pair a source, or one for all bytes alike."""
    if config.average == "macro":
        return [(values[source], sizes[source]) for source in sizes]
    return [(np.concatenate([values[source] for source in sizes]), np.concatenate(list(sizes.values())))]


def _score(config: DecisionConfig, bits: Bits, sizes: Bits) -> float:
    return float(np.mean([own.sum() / size.sum() for own, size in _strata(config, bits, sizes)]))


def _compare(config: DecisionConfig, one: Bits, other: Bits, sizes: Bits) -> dict[str, Any]:
    """Paired difference in bits per byte, one less the other, with its interval."""
    differences = {source: one[source] - other[source] for source in sizes}
    interval = paired_interval(_strata(config, differences, sizes), config.confidence, config.resamples, config.seed)
    return {"confidence": config.confidence, **{name: rounded(value) for name, value in asdict(interval).items()}}


def _choose(
    config: DecisionConfig, scores: Mapping[str, float], soup: str | None, comparisons: Mapping[str, Mapping[str, Any]]
) -> str:
    if config.rule == "soup_over_mean" and soup is not None and comparisons:
        return (
            soup
            if comparisons["soup_against_mean"]["difference"] < 0
            else comparisons["soup_against_best"]["ingredient"]
        )
    return min(sorted(scores), key=lambda name: scores[name])


def _reason(
    config: DecisionConfig,
    main: str,
    soup: str | None,
    scores: Mapping[str, float],
    comparisons: Mapping[str, Mapping[str, Any]],
    sources: list[str],
) -> str:
    """One sentence that says what was chosen, by which number and by how much."""
    averaged = (
        "" if len(sources) == 1 else f" ({'mean of sources' if config.average == 'macro' else 'all bytes alike'})"
    )
    text = f"{main} has {scores[main]:.4f} bits per byte on {', '.join(sources)}{averaged}"
    if len(scores) == 1:
        return f"{text} and is the only candidate."
    if not comparisons:
        return f"{text}, the lowest of {len(scores)} candidates."
    mean, best = comparisons["soup_against_mean"], comparisons["soup_against_best"]
    where = f"{best['ingredient']}, the best ingredient"
    compared = f"{_against(mean, 'the mean of the ingredients')} and {_against(best, where)}"
    return f"{text}: the soup is {compared}." if main == soup else f"{text}: the soup {soup} would be {compared}."


def _against(comparison: Mapping[str, Any], what: str) -> str:
    side = "below" if comparison["difference"] < 0 else "above"
    low, high = comparison["low"], comparison["high"]
    share = f"{100 * comparison['confidence']:g}%"
    return f"{abs(comparison['difference']):.4f} {side} {what} ({share} interval {low:+.4f} to {high:+.4f})"
