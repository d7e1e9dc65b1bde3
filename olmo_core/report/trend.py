"""Held-out scores along each run: every checkpoint compared with the previous one, with a paired interval.

Only checkpoints of the same run are compared: another stage may be expected to be worse on some text. Our own runs are
scored on the corpora of their mix, those of a Hub repository on all corpora; documents are paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from olmo_core.artifact.identity import Step
from olmo_core.artifact.snapshot import Snapshot
from olmo_core.artifact.store import Store
from olmo_core.evaluate.statistics import paired_interval
from olmo_core.evaluate.step import DOCUMENTS_FILE
from olmo_core.evaluate.table import HeldoutRow, read_table
from olmo_core.evaluate.task import HELDOUT
from olmo_core.hub.names import place
from olmo_core.recipe.plan import Plan
from olmo_core.report.figure import token_axis
from olmo_core.report.tables import Row

Scores = dict[str, dict[str, tuple[float, int]]]  # corpus -> document -> (bits, bytes)


@dataclass(frozen=True)
class Point:
    """An evaluated checkpoint of a run: its name, training step, tokens of the run so far, and scores."""

    name: str
    step: int
    tokens: int
    scores: Scores

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte, mean over the corpora."""
        return float(np.mean([_bits_per_byte(documents) for documents in self.scores.values()]))


Trend = dict[str, list[Point]]  # run -> its checkpoints in order


def read_trend(plan: Plan, store: Store) -> Trend:
    """Return the evaluated checkpoints of every run, or of every run of the plan's repository if it has one."""
    held = store.snapshot()
    return _of_repository(plan.published, store, held) if plan.repository is not None else _of_runs(plan, store, held)


def trend_rows(trend: Trend) -> list[Row]:
    """Return a row for every evaluated checkpoint that has an evaluated predecessor in its run.

    `difference` is in bits per byte; negative is better. `regression` is true if the whole 95 % interval is above zero.
    """
    return [_row(earlier, later) for points in trend.values() for earlier, later in pairwise(points)]


def trend_picture(trend: Trend) -> bytes:
    """Return a PNG: bits per byte of held-out text over the tokens of each run, mean over its corpora."""
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for name, points in trend.items():
        if points:
            axes.plot([each.tokens for each in points], [each.bits_per_byte for each in points], marker="o", label=name)
    token_axis(axes, "tokens of the run")
    axes.set_ylabel("bits per byte, lower is better")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    picture = BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _of_runs(plan: Plan, store: Store, held: Snapshot) -> Trend:
    trend: Trend = {}
    for run in (run for runs in plan.runs.values() for run in runs):
        corpora = plan.judged_on(run)
        trend[run.step.name] = [
            Point(step.name, at, at * run.config.batch_tokens, scores)
            for at, step in run.checkpoints.items()
            if (scores := _scores(store, held, plan.result(step, HELDOUT), corpora))
        ]
    return trend


def _of_repository(published: Mapping[str, Mapping[str, Step]], store: Store, held: Snapshot) -> Trend:
    """Group revisions into runs by their names; token counts are as exact as the names."""
    trend: Trend = {}
    for name, results in published.items():
        there, result = place(name), results[HELDOUT]
        corpora = [each.partition("/")[2] for each in result.inputs if each.startswith("heldout/")]
        if there is not None and (scores := _scores(store, held, result, corpora)):
            trend.setdefault(there.run or "run", []).append(Point(name, there.step, there.tokens, scores))
    return {run: sorted(points, key=lambda point: point.step) for run, points in trend.items()}


def _bits_per_byte(documents: dict[str, tuple[float, int]]) -> float:
    return sum(bits for bits, _ in documents.values()) / sum(size for _, size in documents.values())


def _row(earlier: Point, later: Point) -> Row:
    old, new = earlier.scores, later.scores
    strata = []
    for corpus in sorted(old):
        documents = sorted(old[corpus].keys() & new[corpus].keys())
        bits = np.array([new[corpus][each][0] - old[corpus][each][0] for each in documents])
        strata.append((bits, np.array([new[corpus][each][1] for each in documents])))
    found = paired_interval(strata)
    return {
        "checkpoint": later.name,
        "against": earlier.name,
        "difference": round(found.difference, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "regression": found.low > 0,
    }


def _scores(store: Store, held: Snapshot, result: Step, corpora: Sequence[str]) -> Scores:
    """Return bits and bytes of every held-out document of these corpora; empty if the result is missing."""
    found = store.find(result) if held.peek(result) is not None else None
    if found is None:
        return {}
    scores: Scores = {}
    for row in read_table(found.path / DOCUMENTS_FILE):
        if isinstance(row, HeldoutRow) and row.source in corpora:
            scores.setdefault(row.source, {})[row.id] = (row.bits, row.bytes)
    return scores if scores.keys() == set(corpora) else {}
