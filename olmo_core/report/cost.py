"""Predicted and actual cost of a release: tokens, FLOPs, time, energy and CO2e, the actual ones from its records."""

from collections.abc import Callable, Iterable
from datetime import datetime

from olmo_core.artifact.record import Record
from olmo_core.recipe.carbon import kilograms_per_kwh
from olmo_core.recipe.compute import Compute
from olmo_core.recipe.estimate import Estimate, estimate
from olmo_core.recipe.kinds import Lane, kind_called
from olmo_core.recipe.machine import Machine
from olmo_core.recipe.quantity import show_count, show_duration, show_energy, show_flops
from olmo_core.report.figure import Table
from olmo_core.report.view import ReleaseView
from olmo_core.report.words import duration, mass

NONE = "-"
MEASURED = ("cpu_measured_kwh", "gpu_measured_kwh")  # readings of a record; the rest of its kwh was estimated


def cost_table(release: ReleaseView, compute: Compute, machine: Machine | None = None) -> Table:
    """Return the cost predicted for the whole release and the actual one so far."""
    cost = estimate(release.plan, release.plan.steps, (), compute, machine)
    time = NONE if cost.minutes is None else show_duration(60 * cost.minutes)
    tokens, flops = 0, 0.0
    for run in (run for runs in release.plan.runs.values() for run in runs):
        history = release.histories[run.step.id]
        seen = history[-1].tokens if history else 0
        tokens += seen
        flops += seen * run.model.flops_per_token(run.config.sequence_length)
    records = list(release.records.values())
    worked = sum(record.seconds for record in records)
    rows = [
        ("tokens trained on", show_count(cost.tokens), show_count(tokens)),
        ("training FLOPs", show_flops(cost.flops), show_flops(flops)),
        ("time with a step running", time, duration(seconds_at_work(records))),
        ("sum of the times of all steps", NONE, duration(worked)),
        ("energy", NONE if cost.kwh is None else show_energy(cost.kwh), _sum(records, "kwh", show_energy)),
        ("share read from hardware counters", NONE, _measured(records)),
        ("CO2e", _predicted_co2e(cost, compute), _sum(records, "co2e_kg", mass)),
    ]
    return Table("Cost of the release, predicted and actual", ("quantity", "predicted", "actual"), rows)


def kinds_table(release: ReleaseView) -> Table:
    """Return count, time and energy of the steps made, by kind."""
    kinds: dict[str, list[Record]] = {}
    for step in release.plan.steps:
        if (record := release.record(step)) is not None:
            kinds.setdefault(step.kind, []).append(record)
    rows = [
        (
            kind,
            f"{len(records)}",
            duration(sum(record.seconds for record in records)),
            _sum(records, "kwh", show_energy),
        )
        for kind, records in kinds.items()
    ]
    return Table("Time and energy by kind of step", ("kind", "steps", "time", "energy"), rows)


def seconds_at_work(records: Iterable[Record]) -> float:
    """Return the seconds during which at least one step ran; breaks between runs of a release do not count."""
    spans = sorted((datetime.fromisoformat(each.started), datetime.fromisoformat(each.finished)) for each in records)
    seconds = 0.0
    until = None
    for start, end in spans:
        begin = start if until is None else max(start, until)
        if end > begin:
            seconds += (end - begin).total_seconds()
            until = end
    return seconds


def _predicted_co2e(cost: Estimate, compute: Compute) -> str:
    if compute.country is None or cost.kwh is None:
        return NONE
    return mass(cost.kwh * kilograms_per_kwh(compute.country))


def _measured(records: list[Record]) -> str:
    readings = [record.energy for record in records if record.energy]
    whole = sum(reading["kwh"] for reading in readings)
    counted = sum(reading.get(part, 0.0) for reading in readings for part in MEASURED)
    return f"{counted / whole:.0%}" if whole else NONE


def _sum(records: list[Record], key: str, show: Callable[[float], str]) -> str:
    """Add up a reading and count the steps without one, except checkpoints: their run's reading includes them."""
    own = [record for record in records if kind_called(record.kind).lane is not Lane.PARENT]
    readings = [record.energy[key] for record in own if record.energy and key in record.energy]
    if not readings:
        return "not measured" if own else NONE
    without = len(own) - len(readings)
    rest = f", {without} {'step' if without == 1 else 'steps'} not measured" if without else ""
    return f"{show(sum(readings))}{rest}"
