"""How held-out text goes along each run: every checkpoint against the one before it, with a paired interval.

Only checkpoints of one run compare: another stage is meant to be worse at some text. Judged on the corpora of the run's
own mix, documents paired.
"""

from io import BytesIO
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from olmo_core.artifact.identity import Step
from olmo_core.artifact.store import Store
from olmo_core.evaluate.statistics import paired_interval
from olmo_core.evaluate.table import DOCUMENTS_FILE, HeldoutRow, read_table
from olmo_core.recipe.plan import Plan
from olmo_core.report.tables import Row

Scores = dict[str, dict[str, tuple[float, int]]]  # corpus -> document -> (bits, bytes)


def trend_rows(plan: Plan, store: Store) -> list[Row]:
    """Return a row for every checkpoint that was evaluated after an earlier one of its run was.

    `difference` is in bits per byte, negative where it got better; `regression` says that the whole 95 % interval is
    above zero.
    """
    rows = []
    for runs in plan.runs.values():
        for run in runs:
            corpora = sorted(plan.recipe.mixes[run.group.mix].weights)
            scored = [(step, _scores(store, plan.results[step.id], corpora)) for step in run.checkpoints.values()]
            there = [(step, scores) for step, scores in scored if scores]
            for (earlier, old), (later, new) in pairwise(there):
                rows.append(_row(earlier, later, old, new))
    return rows


def trend_picture(plan: Plan, store: Store) -> bytes:
    """Return a PNG: bits per byte of held-out text over the tokens of each run, mean over the corpora of its mix."""
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for runs in plan.runs.values():
        for run in runs:
            corpora = sorted(plan.recipe.mixes[run.group.mix].weights)
            points = [
                (at * run.config.batch_tokens, float(np.mean([_bits_per_byte(scores[each]) for each in corpora])))
                for at, step in run.checkpoints.items()
                if (scores := _scores(store, plan.results[step.id], corpora))
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", label=run.step.name)
    axes.set_xlabel("tokens of the run")
    axes.set_ylabel("bits per byte, lower is better")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    picture = BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _bits_per_byte(documents: dict[str, tuple[float, int]]) -> float:
    return sum(bits for bits, _ in documents.values()) / sum(size for _, size in documents.values())


def _row(earlier: Step, later: Step, old: Scores, new: Scores) -> Row:
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


def _scores(store: Store, result: Step, corpora: list[str]) -> Scores:
    """Return bits and bytes of every held-out document of these corpora, nothing where the result is not there."""
    found = store.find(result) if store.peek(result) is not None else None
    if found is None:
        return {}
    scores: Scores = {}
    for row in read_table(found.path / DOCUMENTS_FILE):
        if isinstance(row, HeldoutRow) and row.source in corpora:
            scores.setdefault(row.source, {})[row.id] = (row.bits, row.bytes)
    return scores if scores.keys() == set(corpora) else {}
