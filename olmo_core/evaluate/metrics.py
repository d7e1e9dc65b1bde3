"""Metrics over the stored table: pure functions from rows to named values with standard errors.

The conventions are those of OLMES and of OLMo's in-loop evaluation (`_v2`): lengths include a choice's leading space;
the bits per byte of a task are the mean over its items, those of a held-out source total bits over total bytes.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from olmo_core.evaluate.statistics import Estimate, mean, ratio
from olmo_core.evaluate.table import ChoiceScore, HeldoutRow, Row, TaskRow, rounded


def summary(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the metrics of a table's rows: `heldout` by source and `tasks` by task, each name -> value."""
    sources: dict[str, list[HeldoutRow]] = {}
    tasks: dict[str, list[TaskRow]] = {}
    for row in rows:
        if isinstance(row, HeldoutRow):
            sources.setdefault(row.source, []).append(row)
        else:
            tasks.setdefault(row.task, []).append(row)
    return {
        "heldout": {name: heldout_metrics(documents) for name, documents in sources.items()},
        "tasks": {name: task_metrics(items) for name, items in tasks.items()},
    }


def heldout_metrics(rows: list[HeldoutRow]) -> dict[str, Any]:
    """Return the bits per byte of one source: total bits over total bytes, with the standard error over documents."""
    estimate = ratio([row.bits for row in rows], [row.bytes for row in rows])
    return {
        "bits_per_byte": rounded(estimate.value),
        "stderr": None if estimate.stderr is None else rounded(estimate.stderr),
        "documents": len(rows),
        "bytes": sum(row.bytes for row in rows),
        "tokens": sum(row.tokens for row in rows),
    }


def task_metrics(rows: list[TaskRow]) -> dict[str, Any]:
    """Return the metrics of one task, each with its `<metric>_stderr`; accuracies only if items have several choices.

    `accuracy` picks the likeliest choice, `accuracy_per_character` and `accuracy_per_byte` the likeliest relative to
    its length, `accuracy_unconditional` the one that gains most from the question; on a tie the first wins.
    `bits_per_byte` is that of the right choice, `gold_probability` its share among the choices, `chance` the accuracy
    of guessing.
    """
    metrics: dict[str, Any] = {
        "documents": len(rows),
        "truncated": sum(row.truncated > 0 for row in rows),
        **_named("bits_per_byte", mean([_gold_bits_per_byte(row) for row in rows])),
    }
    if any(len(row.choices) == 1 for row in rows):
        return metrics
    metrics["chance"] = rounded(mean([1 / len(row.choices) for row in rows]).value)
    metrics |= _named("accuracy", _accuracy(rows, [[c.loglikelihood for c in row.choices] for row in rows]))
    per_character = [[c.loglikelihood / c.characters for c in row.choices] for row in rows]
    metrics |= _named("accuracy_per_character", _accuracy(rows, per_character))
    per_byte = [[c.loglikelihood / c.bytes for c in row.choices] for row in rows]
    metrics |= _named("accuracy_per_byte", _accuracy(rows, per_byte))
    gains = [[_gain(choice) for choice in row.choices] for row in rows]
    if not any(math.isnan(gain) for row in gains for gain in row):
        metrics |= _named("accuracy_unconditional", _accuracy(rows, gains))
    return metrics | _named("gold_probability", mean([_gold_probability(row) for row in rows]))


def _named(name: str, estimate: Estimate) -> dict[str, float | None]:
    stderr = None if estimate.stderr is None else rounded(estimate.stderr)
    return {name: rounded(estimate.value), f"{name}_stderr": stderr}


def _accuracy(rows: list[TaskRow], scores: list[list[float]]) -> Estimate:
    return mean([float(np.argmax(values) == row.gold) for row, values in zip(rows, scores, strict=True)])


def _gold_bits_per_byte(row: TaskRow) -> float:
    gold = row.choices[row.gold]
    return -gold.loglikelihood / gold.bytes / math.log(2)


def _gold_probability(row: TaskRow) -> float:
    values = np.array([choice.loglikelihood for choice in row.choices])
    weights = np.exp(values - values.max())
    return float(weights[row.gold] / weights.sum())


def _gain(choice: ChoiceScore) -> float:
    return math.nan if choice.unconditional is None else choice.loglikelihood - choice.unconditional
