"""The release page: one HTML file that needs no server, no script and no other file.

Its content comes from the records alone, so equal records give equal bytes. Text and order are in `page.html.j2`,
styles in `page.css.j2`; this file puts values into tables.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from olmo_core.artifact.identity import Step
from olmo_core.artifact.record import Record
from olmo_core.artifact.store import Store
from olmo_core.hub.card import ARCHITECTURES
from olmo_core.recipe.compute import Compute
from olmo_core.recipe.machine import Machine
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.quantity import show_count
from olmo_core.report.comparison import candidates_table, comparison_figure
from olmo_core.report.corpora import dropped_table, sources_table
from olmo_core.report.cost import cost_table, kinds_table
from olmo_core.report.curves import loss_figures
from olmo_core.report.figure import SOUP_LOOK, Look, Table, look
from olmo_core.report.graph import graph_figure
from olmo_core.report.scores import heldout_figures, models, task_figures
from olmo_core.report.view import ReleaseView, read_release
from olmo_core.report.words import duration, share, some

TEMPLATE = "page.html.j2"
NONE = "-"
MOST_OF_A_KIND = 200  # most steps of a kind that are listed one by one; OLMo 2 1B has 1,980 checkpoints


def render(plan: Plan, store: Store, compute: Compute, machine: Machine | None = None) -> str:
    """Return the page of a release, complete or not, as HTML."""
    release = read_release(plan, store)
    runs = [run for runs in plan.runs.values() for run in runs]
    looks = {run.step.name: look(number) for number, run in enumerate(runs)}
    drawn = {**looks, **{soup.name: SOUP_LOOK for soup in plan.soups.values()}}
    decision = release.record(plan.decision)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        recipe=plan.recipe,
        card=plan.recipe.release.card,
        shape=plan.recipe.shape,
        architecture=ARCHITECTURES[plan.recipe.shape.architecture],
        release=release,
        facts=_facts(release),
        missing=sum(release.state(step) == "missing" for step in plan.steps),
        aside=[(step.label, release.problems[step.id]) for step in plan.steps if step.id in release.problems],
        decision=decision.result if decision is not None else None,
        comparison=comparison_figure(decision.result) if decision is not None else None,
        candidates=candidates_table(decision.result) if decision is not None else None,
        graph=graph_figure(release),
        steps=steps_table(release),
        losses=loss_figures(release, looks),
        run_legend=_legend(looks, (run.step.name for run in runs if release.histories[run.step.id])),
        runs_without=some(run.step.name for run in runs if not release.histories[run.step.id]),
        heldout=heldout_figures(release, drawn),
        tasks=task_figures(release, drawn),
        model_legend=_legend(drawn, drawn),
        unevaluated=some(_unevaluated(release)),
        revisions=_revisions(release),
        mixes=_mixes(release),
        sources=sources_table(release),
        dropped=dropped_table(release),
        cost=cost_table(release, compute, machine),
        country=compute.country,
        kinds=kinds_table(release),
        origin=_origin(release.records.values()),
    )


def steps_table(release: ReleaseView) -> Table:
    """Return state, duration and time of every step; a kind with more than `MOST_OF_A_KIND` steps has one row."""
    kinds: dict[str, list[Step]] = {}
    for step in release.plan.steps:
        kinds.setdefault(step.kind, []).append(step)
    rows: list[tuple[str, ...]] = []
    for step in release.plan.steps:
        alike = kinds[step.kind]
        if len(alike) <= MOST_OF_A_KIND:
            rows.append((step.label, step.id[:12], release.state(step), *_times(release, [step])))
        elif step is alike[0]:
            states = Counter(release.state(each) for each in alike)
            counts = ", ".join(f"{count:,} {state}" for state, count in states.items())
            rows.append((f"{step.label} and {len(alike) - 1:,} more", NONE, counts, *_times(release, alike)))
    columns = ("step", "id", "state", "time", "made, UTC")
    return Table("All steps, inputs first", columns, rows, 3)


def _times(release: ReleaseView, steps: list[Step]) -> tuple[str, str]:
    """Return the total duration of the steps that are made, and when the last of them was finished."""
    records = [record for step in steps if (record := release.record(step)) is not None]
    if not records:
        return NONE, NONE
    last = max(record.finished for record in records)
    return duration(sum(record.seconds for record in records)), last[:19].replace("T", " ")


def _unevaluated(release: ReleaseView) -> Iterator[str]:
    """Yield the models that lack results; names the groups if only some are missing."""
    for model in _models(release.plan):
        results = release.plan.results_of(model)
        missing = [group for group, step in results.items() if release.record(step) is None]
        if missing:
            yield model.name if len(missing) == len(results) else f"{model.name} on {', '.join(missing)}"


def _models(plan: Plan) -> list[Any]:
    return [*plan.checkpoints(), *plan.soups.values()]


def _facts(release: ReleaseView) -> list[tuple[str, str]]:
    plan = release.plan
    made = len(release.records)
    shown = [revision for revision in plan.revisions if release.record(revision.step) is not None]
    last = max((record.finished for record in release.records.values()), default="")
    return [
        ("Parameters", show_count(plan.recipe.shape.parameters)),
        *(
            (f"Model of {name}", _changes(stage.model.given))
            for name, stage in plan.recipe.stages.items()
            if stage.model.given
        ),
        ("Training runs", str(sum(len(runs) for runs in plan.runs.values()))),
        ("Revisions made", f"{len(shown)} of {len(plan.revisions)}"),
        ("Steps made", f"{made} of {len(plan.steps)}"),
        ("Last step made", f"{last[:16].replace('T', ' ')} UTC" if last else NONE),
    ]


def _changes(model: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in sorted(model.items()))


def _legend(looks: dict[str, Look], names: Iterable[str]) -> list[tuple[str, Look]]:
    return [(name, looks[name]) for name in names]


def _revisions(release: ReleaseView) -> list[dict[str, str]]:
    """Return a row per revision: name, model (if a decision chose it), tokens seen, mean bits per byte, state."""
    plan = release.plan
    scores = {model.id: results["heldout"] for model, results in models(release)}
    by_id = {model.id: model for model in _models(plan)}
    rows = []
    for revision in plan.revisions:
        record = release.record(revision.step)
        exports = [source for role, source in revision.step.inputs.items() if role.startswith("export/")]
        shown = record.result["model"] if record is not None else exports[0].inputs["model"].id
        known = record is not None or len(exports) == 1
        heldout = [row["bits_per_byte"] for row in scores.get(shown, {}).values() if row["documents"]] if known else []
        rows.append(
            {
                "name": revision.name,
                "shows": by_id[shown].name if record is not None and len(exports) > 1 else "",
                "tokens": show_count(release.tokens_seen(by_id[shown])) if known else NONE,
                "bits": f"{sum(heldout) / len(heldout):.4f}" if heldout else NONE,
                "state": release.state(revision.step),
            }
        )
    return rows


def _mixes(release: ReleaseView) -> list[Table]:
    tables = []
    for step in release.plan.mixes.values():
        record = release.record(step)
        weights = step.fields["weights"]
        if record is None:
            whole = sum(weights.values())
            rows = [(name, share(weight / whole), NONE, NONE, NONE) for name, weight in weights.items()]
        else:
            rows = [
                (
                    row["corpus"],
                    share(row["share_asked"]),
                    share(row["share_given"]),
                    f"{row['tokens']:,}",
                    f"{row['epochs']:.2f}",
                )
                for row in record.result["sources"]
            ]
        columns = ("corpus", "share asked", "share given", "tokens", "epochs")
        tables.append(Table(f"Mix {step.name}, {step.fields['tokens']:,} tokens", columns, rows))
    return tables


def _origin(records: Iterable[Record]) -> dict[str, list[str]]:
    """Return the commits and environments that made the records."""
    commits, environments = set(), set()
    for record in records:
        changed = " with uncommitted changes" if record.code.dirty else ""
        commits.add(f"{record.code.commit or 'unknown'}{changed}")
        packages = ", ".join(f"{name} {version}" for name, version in sorted(record.environment.packages.items()))
        machine = record.environment
        environments.add(f"Python {machine.python}, {machine.machine}, {machine.cpu}; {packages}")
    return {"commits": sorted(commits), "environments": sorted(environments)}
