"""Break down the time of a release, from Prefect, the records and MLflow in its home folder."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient

from olmo_core.artifact.record import Record
from olmo_core.artifact.store import Store
from olmo_core.recipe.plan import Plan

BACKGROUND = {"result": "evaluate", "export": "export", "revision": "write cards and lineage"}
Row = dict[str, object]


def where_the_time_went(home: Path, plan: Plan, began: float, ended: float) -> list[Row]:
    """Return a row for each phase of a release, in order, then one for each kind of background work.

    Args:
        home: its home folder, used for nothing else.
        plan: plan of the release.
        began: start of the command, seconds since the epoch.
        ended: end of the command, seconds since the epoch.
    """
    flows, tasks = _spans(home, "flow_run"), _spans(home, "task_run")
    store = Store(home / "artifacts")
    records = {step.id: record for step in plan.steps if (record := store.peek(step)) is not None}
    name = plan.recipe.name
    release, data = flows[f"release {name}"], flows[f"data {name}"]
    first = min(_start(record) for record in records.values())
    rows = [
        ("import, check the store, start Prefect's server", release[0] - began),
        ("start Ray, import for the first steps", first - release[0]),
        ("data", data[1] - first),
    ]
    for stage, runs in plan.runs.items():
        span, own = flows[f"{stage} {name}"], [records[run.step.id] for run in runs]
        longest, arithmetic = max(record.seconds for record in own), _arithmetic_seconds(home, own)
        rows += [
            (f"{stage}: start Ray Train's controller and workers", min(map(_start, own)) - span[0]),
            (f"{stage}: compile, first steps, checkpoints", longest - arithmetic),
            (f"{stage}: train at full rate", arithmetic),
            (f"{stage}: end Ray Train's job", span[1] - max(map(_end, own))),
        ]
    parts = tuple(f"{part} " for part in plan.parts if part not in ("evaluate", "publish"))
    last = max(end for flow, (_, end) in flows.items() if flow.startswith(parts))
    rows += [
        (
            "soups, and the evaluations that select among them",
            last - max(flows[f"{stage} {name}"][1] for stage in plan.runs),
        ),
        ("evaluate and publish the remaining revisions", release[1] - last),
        ("stop the services, print", ended - release[1]),
    ]
    return [{"what": what, "s": round(seconds, 1)} for what, seconds in [*rows, *_works(records.values(), tasks)]]


def _works(records: Iterable[Record], tasks: dict[str, tuple[float, float]]) -> Iterable[tuple[str, float]]:
    """Yield the total seconds of each kind of background step, and of publishing."""
    sums: dict[str, float] = defaultdict(float)
    for record in records:
        if record.kind in BACKGROUND:
            sums[BACKGROUND[record.kind]] += record.seconds
    sums["publish, load back, compare"] = sum(end - start for task, (start, end) in tasks.items() if "publish " in task)
    yield from ((f"background, total: {what}", seconds) for what, seconds in sums.items())


def _arithmetic_seconds(home: Path, records: Iterable[Record]) -> float:
    """Return the seconds that the longest run would take at the median of its rates in MLflow."""
    client, seconds = MlflowClient(f"sqlite:///{home / 'mlflow.db'}"), 0.0
    experiments = [each.experiment_id for each in client.search_experiments()]
    ids = {run.info.run_name: run.info.run_id for run in client.search_runs(experiments)}
    for record in records:
        rates = client.get_metric_history(ids[record.label], "train/tokens_per_second")
        if rates:
            median = sorted(rate.value for rate in rates)[len(rates) // 2]
            seconds = max(seconds, record.result["tokens"] / median)
    return seconds


def _spans(home: Path, table: str) -> dict[str, tuple[float, float]]:
    """Return name -> (first start, last end) of the runs in a table of Prefect."""
    spans: dict[str, tuple[float, float]] = {}
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        for name, start, end in database.execute(f"select name, start_time, end_time from {table}"):
            if start is not None and end is not None:
                before = spans.get(name, (float("inf"), 0.0))
                spans[name] = min(before[0], _seconds(start)), max(before[1], _seconds(end))
    return spans


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _start(record: Record) -> float:
    return datetime.fromisoformat(record.started).timestamp()


def _end(record: Record) -> float:
    return datetime.fromisoformat(record.finished).timestamp()
