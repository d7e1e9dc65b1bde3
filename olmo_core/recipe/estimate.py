"""Predicted cost of the steps that have to run: tokens, FLOPs, minutes, kWh and bytes.

Times come from records of the same model if there are any, else from the rate in the profile or of the machine. A
prediction changes nothing and does not affect identity.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

from olmo_core.artifact.identity import Step
from olmo_core.artifact.record import Record
from olmo_core.evaluate.step import group_of
from olmo_core.recipe.compute import Budget, Compute, Workers
from olmo_core.recipe.kinds import BACKGROUND_PARTS, Lane, Weights, kind_called
from olmo_core.recipe.machine import Machine
from olmo_core.recipe.past import Past
from olmo_core.recipe.plan import Plan, Run
from olmo_core.recipe.quantity import show_count, show_duration, show_energy, show_flops
from olmo_core.recipe.size import scoring_flops, token_file_bytes
from olmo_core.train.compilation import compiles

# Seconds on the reference machine (see `machine`), in addition to time that grows with bytes and FLOPs.
START_SECONDS = 25.0  # services and workers, once per release that runs anything
STAGE_SECONDS = 15.0  # Ray Train's processes and imports, once per stage
COMPILE_SECONDS = 30.0  # of the training step, once per stage that compiles
TOKENIZER_SECONDS = 1.3e-6  # per byte of text that a tokenizer learns from
DISK_BYTES = 300e6  # written and hashed per second
NETWORK_BYTES = 100e6  # fetched per second
# FLOP/s of a training step over those of its products. Compiled: fp32 0.72 (60M), bf16 0.69 (5M) and 0.75 (60M).
TRAINING_SHARE = 0.7
EAGER_SHARE = 0.6
SCORING_SHARE = 0.7  # of an evaluation; slower by itself, but part of it runs while training waits
WEIGHT_BYTES = 4  # fp32

GPU_RATE = "not known for a GPU of another machine; set `speed: {flops_per_second: ...}` in the profile"
CPU_RATE = "not known: this machine could not be measured; set `speed: {flops_per_second: ...}` in the profile"


@dataclass(frozen=True)
class Estimate:
    """Predicted cost of the steps that have to run.

    Attributes:
        steps: number of steps.
        tokens: tokens to train on.
        flops: floating point operations of training.
        minutes: wall-clock time; None if unknown (`unknown` gives the reason).
        kwh: energy; None if the time is unknown, and for GPUs, whose power is not in the profile.
        bytes: bytes on disk.
        basis: source of the rate used for the time of training.
        unknown: why the time is unknown, with the remedy.
    """

    steps: int = 0
    tokens: int = 0
    flops: float = 0.0
    minutes: float | None = 0.0
    kwh: float | None = 0.0
    bytes: int = 0
    basis: str = ""
    unknown: str = ""

    def over(self, budget: Budget) -> list[str]:
        """Return a sentence for every limit of a budget that is exceeded."""
        shown: dict[str, Callable[[float], str]] = {
            "minutes": lambda minutes: show_duration(60 * minutes),
            "kwh": show_energy,
            "flops": lambda flops: f"{show_flops(flops)} FLOPs",
        }
        cost = asdict(self)
        return [
            f"{shown[name](cost[name])}, but the profile's budget is {shown[name](limit)}"
            for name, limit in budget.model_dump().items()
            if limit is not None and cost[name] is not None and cost[name] > limit
        ]


def estimate(
    plan: Plan, steps: Iterable[Step], records: Iterable[Record], compute: Compute, machine: Machine | None = None
) -> Estimate:
    """Return the predicted cost of making `steps`; see `estimate_parts`."""
    return whole(estimate_parts(plan, steps, records, compute, machine), plan, compute, machine)


def estimate_parts(
    plan: Plan, steps: Iterable[Step], records: Iterable[Record], compute: Compute, machine: Machine | None = None
) -> dict[str, Estimate]:
    """Return the predicted cost of making `steps`, for each part that has some of them.

    Args:
        plan: plan with all of the steps.
        steps: steps to make.
        records: records of earlier steps.
        compute: where the steps run.
        machine: measured speed of this machine; without it, times on its CPU are unknown.
    """
    todo = {step.id for step in steps}
    prediction = _Prediction(plan, Past(records), compute, machine)
    parts = {}
    for part in plan.parts:
        if own := [step for step in plan.steps_of(part) if step.id in todo]:
            runs = [run for run in plan.runs.get(part, []) if run.step.id in todo]
            parts[part] = prediction.stage(runs, own) if runs else prediction.steps(part, own)
    return parts


def whole(parts: Mapping[str, Estimate], plan: Plan, compute: Compute, machine: Machine | None) -> Estimate:
    """Return the total cost of parts.

    Evaluation and publishing run in parallel with training, so they add time only where training leaves no core free.
    """
    if not parts:
        return Estimate()
    unknown = next((each.unknown for each in parts.values() if each.unknown), "")
    minutes = kwh = None
    if not unknown:
        taken = {part: each.minutes or 0.0 for part, each in parts.items()}
        background = sum(taken.get(part, 0.0) for part in BACKGROUND_PARTS)
        hidden = sum(taken[part] for part in plan.runs if part in taken and _leaves_room(plan, part, compute, machine))
        minutes = START_SECONDS * _pace(machine) / 60 + sum(taken.values()) - min(background, hidden)
        kwh = None if any(each.kwh is None for each in parts.values()) else _kwh(minutes, compute)
    return Estimate(
        sum(each.steps for each in parts.values()),
        sum(each.tokens for each in parts.values()),
        sum(each.flops for each in parts.values()),
        minutes,
        kwh,
        sum(each.bytes for each in parts.values()),
        unknown=unknown,
    )


@dataclass(frozen=True)
class _Prediction:
    """Predicts the costs of the parts of one plan."""

    plan: Plan
    past: Past
    compute: Compute
    machine: Machine | None

    def stage(self, runs: list[Run], steps: list[Step]) -> Estimate:
        """Return the cost of the runs of a stage, with their checkpoints."""
        work = float(sum(run.config.tokens * run.model.flops_per_token(run.config.sequence_length) for run in runs))
        seconds, basis = self._recorded(runs), "records of this model"
        if seconds is None:
            rate, basis = self._training_rate(runs)
            before = STAGE_SECONDS + (COMPILE_SECONDS if self._compiled(runs) else 0.0)
            seconds = None if rate is None else before * _pace(self.machine) + work / rate
        on_gpu = uses_gpu(self.plan.workers(runs[0].step, self.compute))
        return Estimate(
            len(steps),
            sum(run.config.tokens for run in runs),
            work,
            None if seconds is None else seconds / 60,
            None if seconds is None or on_gpu else _kwh(seconds / 60, self.compute),
            int(sum(self._bytes(step) for step in steps)),
            "" if seconds is None else basis,
            (GPU_RATE if on_gpu else CPU_RATE) if seconds is None else "",
        )

    def steps(self, part: str, steps: list[Step]) -> Estimate:
        """Return the cost of the steps of a part without training."""
        cores = self.machine.cores if self.machine is not None else self.compute.background_workers
        lanes = {"data": min(cores, self.compute.logical_cpus or cores), "soup": 1}.get(
            part, min(cores, self.compute.background_workers)
        )
        each = [self._seconds(step) for step in steps]
        found = [seconds for seconds in each if seconds is not None]
        minutes = None if len(found) < len(each) else sum(found) / lanes / 60
        if minutes is not None:
            minutes += sum(self._fetched(step) for step in steps) / NETWORK_BYTES / 60
        return Estimate(
            len(steps),
            minutes=minutes,
            kwh=None if minutes is None else _kwh(minutes, self.compute),
            bytes=int(sum(self._bytes(step) for step in steps)),
            unknown="" if minutes is not None else GPU_RATE if self.compute.placement.device == "cuda" else CPU_RATE,
        )

    def _recorded(self, runs: list[Run]) -> float | None:
        """Return the seconds of a stage at recorded rates of the same model; None if a run has no such record."""
        seconds = []
        for run in runs:
            rates = self.past.training_rates(run.step)
            if not rates:
                return None
            seconds.append(run.config.tokens / max(rates))
        return max(seconds)

    def _training_rate(self, runs: list[Run]) -> tuple[float | None, str]:
        """Return the total FLOP/s of the runs of a stage and its source; runs on this machine share its rate."""
        workers, speed = self.plan.workers(runs[0].step, self.compute), self.compute.speed.flops_per_second
        at_once = side_by_side(self.compute, workers, len(runs))
        if speed is not None and uses_gpu(workers):
            return (
                speed * workers.count * at_once,
                f"{max(1, workers.gpus) * workers.count * at_once:g} GPUs by the profile",
            )
        if speed is not None:
            machines = workers.count * at_once if self.compute.remote else 1
            return speed * machines, "the rate of the profile"
        if uses_gpu(workers) or self.machine is None:
            return None, ""
        threads = at_once * workers.count * workers.placement.threads
        rate = self.machine.rate(runs[0].config.precision, threads)
        if rate is None:
            return None, ""
        rate *= TRAINING_SHARE if self._compiled(runs) else EAGER_SHARE
        return rate, f"{show_count(rate / 1e9)} GFLOP/s of this machine, as measured"

    def _compiled(self, runs: list[Run]) -> bool:
        placement = self.plan.workers(runs[0].step, self.compute).placement
        return compiles(runs[0].model, runs[0].config, placement)

    def _seconds(self, step: Step) -> float | None:
        """Return the seconds of a step without downloads, None if unknown."""
        if (recorded := self.past.seconds(step)) is not None:
            return recorded
        kind = kind_called(step.kind)
        seconds = kind.seconds + TOKENIZER_SECONDS * float(step.fields.get("sample_bytes", 0))
        if kind.weights is not None and kind.lane is not Lane.PARENT:
            seconds += self._bytes(step) / DISK_BYTES
        seconds *= _pace(self.machine)
        if kind.scores:
            rate = self._scoring_rate()
            return None if rate is None else seconds + self._scoring_flops[group_of(step.inputs)] / rate
        return seconds

    def _scoring_rate(self) -> float | None:
        """Return the FLOP/s at which results are scored, None if unknown."""
        placement, speed = self.compute.placement, self.compute.speed.flops_per_second
        if placement.device == "cuda":
            return speed
        if self.machine is None:
            return None if speed is None else SCORING_SHARE * speed
        rate = self.machine.rate(self.plan.recipe.evaluation.scoring.precision, placement.threads)
        return None if rate is None else SCORING_SHARE * rate

    @cached_property
    def _scoring_flops(self) -> dict[str, float]:
        return scoring_flops(self.plan.recipe)

    def _fetched(self, step: Step) -> float:
        """Return the bytes of a published token file to download; 0 for other steps."""
        return self._bytes(step) if step.id in self._published else 0.0

    @cached_property
    def _published(self) -> dict[str, str]:
        """Id of each step that fetches published token files -> their corpus."""
        corpora = {step.id: role.rpartition("/")[0] for role, step in self.plan.tokens.items()}
        return {step: corpus for step, corpus in corpora.items() if corpus in self.plan.recipe.token_files}

    def _bytes(self, step: Step) -> float:
        """Return bytes on disk: from the model for weights, else from records, tokens to fetch, or the kind."""
        kind = kind_called(step.kind)
        if kind.weights is not None:
            return kind.weights(self._weights)
        if (recorded := self.past.bytes(step)) is not None:
            return recorded
        if step.id in self._published:
            return token_file_bytes(self.plan.recipe, self._published[step.id])
        return kind.bytes

    @cached_property
    def _weights(self) -> Weights:
        stored = self.plan.recipe.shape.parameters * WEIGHT_BYTES
        exported = stored * (0.5 if self.plan.recipe.release.dtype == "bfloat16" else 1)
        return Weights(stored, exported, exported if self.compute.copies_revisions else 0.0)


def uses_gpu(workers: Workers) -> bool:
    """Return whether workers train on GPUs."""
    return workers.gpus > 0 or workers.placement.device == "cuda"


def side_by_side(compute: Compute, workers: Workers, runs: int) -> int:
    """Return how many of the runs of a stage train in parallel."""
    if compute.logical_cpus is None:
        return runs
    return max(1, min(runs, int(compute.logical_cpus / (workers.cpus * workers.count))))


def _leaves_room(plan: Plan, stage: str, compute: Compute, machine: Machine | None) -> bool:
    """Return whether a stage leaves a core free on the machine that evaluates."""
    workers = plan.workers(plan.runs[stage][0].step, compute)
    if uses_gpu(workers) or compute.remote or machine is None:
        return True
    at_once = side_by_side(compute, workers, len(plan.runs[stage]))
    return at_once * workers.count * workers.placement.threads < machine.cores


def _pace(machine: Machine | None) -> float:
    return machine.pace if machine is not None else 1.0


def _kwh(minutes: float, compute: Compute) -> float:
    return minutes * 60 * compute.speed.watts / 3.6e6
