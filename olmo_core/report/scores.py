"""Figures of scores over tokens: one per held-out source and task, with intervals and the level of chance.

An interval is 1.96 standard errors to each side. To compare models, use the paired intervals of `comparison`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.evaluate.step import joined
from olmo_core.report.figure import MUTED, SOUP_LOOK, Figure, Look, Table, canvas, to_svg, token_axis
from olmo_core.report.view import ReleaseView
from olmo_core.report.words import thinned

NORMAL = 1.96  # standard errors to each side of a 95 % interval
WIDTH, HEIGHT = 360, 230
NUDGE = 0.017  # part of the axis between markers of models that have seen equally many tokens
POINTS = 40  # most points of a run; OLMo 2 1B evaluates 1,907 checkpoints of stage 1 on every source and task


@dataclass(frozen=True)
class Score:
    """One model's value on one source or task. `error` is its standard error, None if unknown."""

    model: str
    series: str
    tokens: int
    value: float
    error: float | None
    documents: int

    @property
    def reach(self) -> float:
        """Half the width of the interval."""
        return NORMAL * (self.error or 0.0)


def series_of(release: ReleaseView, model: Step) -> str:
    """Return the series a model is drawn in: its run, or for a soup the soup itself."""
    return model.name if model.kind == "soup" else release.plan.run_of(model).step.name


def models(release: ReleaseView) -> Iterator[tuple[Step, dict[str, Any]]]:
    """Yield every model that has a result, with all its results merged."""
    for model in [*release.plan.checkpoints(), *release.plan.soups.values()]:
        found = [release.record(step) for step in release.plan.results_of(model).values()]
        if records := [record for record in found if record is not None]:
            yield model, joined(record.result for record in records)


def heldout_figures(release: ReleaseView, looks: dict[str, Look]) -> list[Figure]:
    """Return a figure of bits per byte over tokens for every held-out source."""
    scores: dict[str, list[Score]] = {}
    for model, results in models(release):
        for source, row in sorted(results["heldout"].items()):
            if row["documents"]:
                scores.setdefault(source, []).append(_score(release, model, row, "bits_per_byte", "stderr"))
    what = "bits per byte, lower is better"
    return [_figure(f"heldout-{source}", source, what, rows, None, release, looks) for source, rows in scores.items()]


def task_figures(release: ReleaseView, looks: dict[str, Look]) -> list[Figure]:
    """Return a figure of the main metric over tokens for every task, with a line at the score of guessing."""
    scores: dict[str, list[Score]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for model, results in models(release):
        for task, row in sorted(results["tasks"].items()):
            if row["documents"]:
                scores.setdefault(task, []).append(
                    _score(release, model, row, row["primary"], f"{row['primary']}_stderr")
                )
                facts[task] = row
    figures = []
    for number, (task, rows) in enumerate(scores.items()):
        better = "lower" if facts[task]["primary"] == "bits_per_byte" else "higher"
        what = f"{facts[task]['primary'].replace('_', ' ')}, {better} is better"
        title = f"{task}, {facts[task]['primary'].replace('_', ' ')}"
        figures.append(_figure(f"task-{number}", title, what, rows, facts[task].get("chance"), release, looks))
    return figures


def _score(release: ReleaseView, model: Step, row: dict[str, Any], value: str, error: str) -> Score:
    tokens = release.tokens_seen(model)
    return Score(model.name, series_of(release, model), tokens, row[value], row.get(error), row["documents"])


def _figure(
    key: str,
    name: str,
    what: str,
    scores: list[Score],
    chance: float | None,
    release: ReleaseView,
    looks: dict[str, Look],
) -> Figure:
    series: dict[str, list[Score]] = {}
    for score in scores:
        series.setdefault(score.series, []).append(score)
    most = max(score.tokens for score in scores)
    at = {score.model: score.tokens + most * _nudge(score.series, series) for score in scores}
    shown = {each: thinned(own, POINTS) for each, own in series.items()}
    with canvas(WIDTH, HEIGHT) as drawn:
        axes = drawn.add_subplot()
        if chance is not None:
            axes.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
            place = ("axes fraction", "data")
            axes.annotate("chance", (0, chance), (3, 3), place, "offset points", color=MUTED, size=11)
        for each, own in shown.items():
            look = looks[each]
            path = [*_start(release, each, scores), *own]
            axes.plot([at[s.model] for s in path], [s.value for s in path], color=look.colour)
            axes.errorbar(
                [at[s.model] for s in own],
                [s.value for s in own],
                [s.reach for s in own],
                fmt=look.marker,
                color=look.colour,
                markersize=10 if look is SOUP_LOOK else 6,
                elinewidth=1.2,
            )
        ends = [score.value + sign * score.reach for score in scores for sign in (-1, 1)]
        ends += [chance] if chance is not None else []
        room = 0.08 * (max(ends) - min(ends)) or 0.1
        axes.set_ylim(min(ends) - room, max(ends) + room)
        axes.set_xlim(right=1.08 * most)
        axes.set_ylabel(what.partition(",")[0])
        token_axis(axes, "tokens seen")
        description = _sentence(what, scores, chance)
        svg = to_svg(drawn, key, f"{name} over tokens", description)
    return Figure(key, name, description, svg, _table(name, what, shown, len(scores)))


def _start(release: ReleaseView, series: str, scores: list[Score]) -> list[Score]:
    """Return the score of the model a run starts from, where the run's line begins."""
    runs = (run for runs in release.plan.runs.values() for run in runs)
    starts = [run.step.inputs["start"].name for run in runs if run.step.name == series and "start" in run.step.inputs]
    return [score for score in scores if score.model in starts]


def _nudge(name: str, series: dict[str, list[Score]]) -> float:
    """Return the shift of a series, as a part of the axis, so that series ending at equal tokens appear side by side.

    A series that ends alone is not shifted.
    """
    neighbours = [each for each, own in series.items() if own[-1].tokens == series[name][-1].tokens]
    return NUDGE * (neighbours.index(name) - (len(neighbours) - 1) / 2)


def _sentence(what: str, scores: list[Score], chance: float | None) -> str:
    best = (max if "higher" in what else min)(scores, key=lambda score: score.value)
    guessing = "" if chance is None else f" Guessing gets {chance:.3g}."
    return (
        f"{what[0].upper()}{what[1:]}. {len(scores)} models; first {scores[0].model} with {scores[0].value:.3f}, "
        f"best {best.model} with {best.value:.3f}.{guessing}"
    )


def _table(name: str, what: str, shown: dict[str, list[Score]], models: int) -> Table:
    rows = []
    for score in (score for own in shown.values() for score in own):
        low, high = score.value - score.reach, score.value + score.reach
        interval = f"{low:.3f} to {high:.3f}" if score.error is not None else "-"
        rows.append((score.model, f"{score.tokens:,}", f"{score.value:.4f}", interval, f"{score.documents:,}"))
    columns = ("model", "tokens seen", what.partition(",")[0], "95% interval", "documents")
    some = "" if len(rows) == models else f"; {len(rows):,} of {models:,} models, evenly spaced over the tokens"
    return Table(f"{name}: {what}{some}", columns, rows)
