"""What a release would cost before it runs: tokens, FLOPs, minutes, kWh and bytes of the steps that have to run.

Times and sizes come from the records of the same or the nearest step where there are any, else from the profile's
figures for the machine and from the size of the model. A prediction changes nothing and bears no identity.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from olmo_core.artifact.identity import Step
from olmo_core.artifact.record import Record
from olmo_core.recipe.plan import Plan, Run
from olmo_core.recipe.profile import Budget, Profile

# Seconds of a step of the embedded recipes on two cores, for kinds that no record tells about yet.
DEFAULT_SECONDS = {
    "package": 3.0,
    "corpus": 4.0,
    "tokenizer": 8.0,
    "tokens": 2.0,
    "mix": 1.0,
    "suite": 3.0,
    "pretrained": 10.0,
    "soup": 2.0,
    "result": 12.0,
    "decision": 1.0,
    "export": 1.0,
    "revision": 1.0,
}
# Bytes of a step of `tiny`, likewise, for what does not grow with the model.
DEFAULT_BYTES = {"package": 50e6, "corpus": 3e6, "tokens": 4e6}
OTHER_BYTES = 1e6
WEIGHT_BYTES = 4  # fp32
MOMENTS = 2  # of Adam, fp32 beside each weight of a checkpoint
START_SECONDS = 25.0  # starting services and workers, once, when anything has to run


@dataclass(frozen=True)
class Estimate:
    """Predicted cost of the steps that have to run: tokens trained on, training FLOPs, minutes, kWh, bytes of disk."""

    steps: int
    tokens: int
    flops: float
    minutes: float
    kwh: float
    bytes: int

    def over(self, budget: Budget) -> list[str]:
        """Return a sentence for every limit of a budget that is exceeded."""
        limits = budget.model_dump()
        cost = asdict(self)
        return [
            f"{name} {cost[name]:.3g} is above the profile's budget of {limit:.3g}"
            for name, limit in limits.items()
            if limit is not None and cost[name] > limit
        ]


def estimate(plan: Plan, steps: Iterable[Step], records: Iterable[Record], profile: Profile) -> Estimate:
    """Return the predicted cost of making `steps`, judged by `records`."""
    todo = {step.id: step for step in steps}
    known: dict[str, list[Record]] = {}
    for record in records:
        known.setdefault(record.kind, []).append(record)
    runs = [run for stage in plan.runs.values() for run in stage if run.step.id in todo]
    shape = plan.recipe.shape
    tokens = sum(run.config.tokens for run in runs)
    flops = sum(run.config.tokens * shape.flops_per_token(run.config.sequence_length) for run in runs)
    seconds = START_SECONDS if todo else 0.0
    for stage in plan.runs.values():
        seconds += max((_run_seconds(plan, run, known, profile) for run in stage if run.step.id in todo), default=0.0)
    for step in todo.values():
        if step.kind not in {"run", "checkpoint"}:
            lanes = profile.beside if step.kind in {"result", "export", "revision"} else 1
            seconds += _seconds(step, known.get(step.kind, [])) / lanes
    disk = sum(_bytes(plan, step, known.get(step.kind, []), profile) for step in todo.values())
    return Estimate(len(todo), tokens, flops, seconds / 60, seconds * profile.speed.watts / 3.6e6, int(disk))


def _run_seconds(plan: Plan, run: Run, known: dict[str, list[Record]], profile: Profile) -> float:
    """Seconds of a run: by tokens per second of a recorded run of the same model, else by the profile's FLOP/s.

    Runs of one stage share the machine: side by side they take as long as one after the other where cores are few.
    """
    model = run.step.fields["model"]
    rates: list[float] = [
        record.payload["fields"]["tokens"] / record.seconds
        for record in known.get("run", [])
        if record.payload["fields"].get("model") == model and record.seconds > 0
    ]
    if rates:
        return run.config.tokens / max(rates)
    work = run.config.tokens * plan.recipe.shape.flops_per_token(run.config.sequence_length)
    return work * len(plan.runs[run.stage]) / profile.speed.flops_per_second


def _bytes(plan: Plan, step: Step, records: list[Record], profile: Profile) -> float:
    """Bytes on this machine's disk: by the model for what holds weights, else as of records, else as in `tiny`."""
    weights = plan.recipe.shape.parameters * WEIGHT_BYTES
    exported = weights * (0.5 if plan.recipe.release.dtype == "bfloat16" else 1)
    by_model = {
        "checkpoint": weights * (1 + MOMENTS),
        "soup": weights,
        "pretrained": weights,
        "export": exported,
        "revision": exported if profile.hub.endpoint is None else 0.0,  # linked in the store, copied into a local hub
    }
    if step.kind in by_model:
        return by_model[step.kind]
    return _mean([float(sum(entry.size for entry in each.files)) for each in _nearest(step, records)]) or (
        DEFAULT_BYTES.get(step.kind, OTHER_BYTES)
    )


def _seconds(step: Step, records: list[Record]) -> float:
    return _mean([record.seconds for record in _nearest(step, records)]) or DEFAULT_SECONDS[step.kind]


def _nearest(step: Step, records: list[Record]) -> list[Record]:
    """Return the records of this name, else all of the kind."""
    return [record for record in records if record.name == step.name] or records


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
