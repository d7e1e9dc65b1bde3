"""Figures of loss and learning rate over tokens: one per stage, with all its runs."""

from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from olmo_core.recipe.plan import Run
from olmo_core.recipe.quantity import show_count
from olmo_core.report.figure import Figure, Look, Table, canvas, to_svg, token_axis
from olmo_core.report.view import HistoryRow, ReleaseView

BINS = 48  # points of a curve; more would show the noise of batches rather than the trend
TABLE_ROWS = 24
WIDTH, HEIGHT = 390, 300

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A history divided into bins of equally many steps; every array has one value per bin, in order."""

    tokens: Numbers
    loss: Numbers
    low: Numbers
    high: Numbers
    rate: Numbers


def binned(history: list[HistoryRow], bins: int) -> Curve:
    """Return mean, lowest and highest loss of at most `bins` bins, with tokens and learning rate at the end of each."""
    parts = np.array_split(np.array([(row.tokens, row.loss, row.lr) for row in history]), min(bins, len(history)))
    return Curve(
        tokens=np.array([part[-1, 0] for part in parts]),
        loss=np.array([part[:, 1].mean() for part in parts]),
        low=np.array([part[:, 1].min() for part in parts]),
        high=np.array([part[:, 1].max() for part in parts]),
        rate=np.array([part[-1, 2] for part in parts]),
    )


def loss_figures(release: ReleaseView, looks: dict[str, Look]) -> list[Figure]:
    """Return a figure for every stage that has begun; `looks` maps the name of a run to its look."""
    figures = []
    for stage, runs in release.plan.runs.items():
        begun = [run for run in runs if release.histories[run.step.id]]
        if begun:
            figures.append(_figure(stage, begun, release, looks))
    return figures


def _figure(stage: str, runs: list[Run], release: ReleaseView, looks: dict[str, Look]) -> Figure:
    histories = {run.step.name: release.histories[run.step.id] for run in runs}
    with canvas(WIDTH, HEIGHT) as drawn:
        upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        for number, (name, history) in enumerate(histories.items()):
            curve, look = binned(history, BINS), looks[name]
            marked = {"color": look.colour, "marker": look.marker, "markevery": (4 + 3 * number, 12), "markersize": 6}
            upper.fill_between(curve.tokens, curve.low, curve.high, color=look.colour, alpha=0.13, linewidth=0)
            upper.plot(curve.tokens, curve.loss, **marked)
            lower.plot(curve.tokens, curve.rate, **marked)
        # The first few losses are far above the rest and would flatten it: the axis covers 98 % of the steps.
        losses = np.concatenate([[row.loss for row in history] for history in histories.values()])
        upper.set_ylim(losses.min() - 0.1, max(float(np.quantile(losses, 0.98)) + 0.1, losses.min() + 0.2))
        upper.set_ylabel("loss, nats per token")
        lower.set_ylabel("learning\nrate")
        lower.set_ylim(bottom=0)
        lower.locator_params(axis="y", nbins=3)
        lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        token_axis(lower, "tokens of the stage")
        drawn.align_ylabels()
        title = f"Training loss of {stage}"
        description = " ".join(_ends(name, history) for name, history in histories.items())
        svg = to_svg(drawn, f"loss-{stage}", title, description)
    return Figure(f"loss-{stage}", title, description, svg, _table(stage, histories))


def _ends(name: str, history: list[HistoryRow]) -> str:
    few = max(1, len(history) // 20)
    first = float(np.mean([row.loss for row in history[:few]]))
    last = float(np.mean([row.loss for row in history[-few:]]))
    tokens = show_count(history[-1].tokens)
    return f"{name}: {first:.3f} over the first {few} steps, {last:.3f} over the last {few}, at {tokens} tokens."


def _table(stage: str, histories: dict[str, list[HistoryRow]]) -> Table:
    rows = []
    for name, history in histories.items():
        curve = binned(history, TABLE_ROWS)
        columns = zip(curve.tokens, curve.loss, curve.low, curve.high, curve.rate, strict=True)
        rows += [
            (name, f"{tokens:,.0f}", f"{loss:.4f}", f"{low:.4f}", f"{high:.4f}", f"{rate:.3g}")
            for tokens, loss, low, high, rate in columns
        ]
    caption = f"{stage}: mean, lowest and highest loss of the steps since the row above"
    return Table(caption, ("run", "tokens", "loss", "lowest", "highest", "learning rate"), rows)
