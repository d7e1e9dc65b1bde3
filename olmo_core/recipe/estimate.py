"""What a release would cost before it runs: tokens, FLOPs, minutes and kWh of the steps that have to run.

Times come from the records of the same or the nearest step where there are any, else from the profile's figures for the
machine. A prediction changes nothing and bears no identity.
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
START_SECONDS = 25.0  # starting services and workers, once, when anything has to run


@dataclass(frozen=True)
class Estimate:
    """Predicted cost of the steps that have to run: tokens trained on, training FLOPs, wall-clock minutes, kWh."""

    steps: int
    tokens: int
    flops: float
    minutes: float
    kwh: float

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
    return Estimate(len(todo), tokens, flops, seconds / 60, seconds * profile.speed.watts / 3.6e6)


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


def _seconds(step: Step, records: list[Record]) -> float:
    named = [record.seconds for record in records if record.name == step.name]
    seconds = named or [record.seconds for record in records]
    return sum(seconds) / len(seconds) if seconds else DEFAULT_SECONDS[step.kind]
