"""The graph of a release: similar steps share a box, every run has its own; boxes show states and times.

Boxes are arranged in layers, inputs above the steps made from them; an edge takes up space in every layer it crosses.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

from olmo_core.artifact.identity import Step
from olmo_core.hub.names import MAIN
from olmo_core.recipe.kinds import KINDS, STAGE, kind_called
from olmo_core.report.figure import ACCENT, FONT_SIZE, INK, MUTED, SURFACE, WARN, Figure, Table, canvas, to_svg
from olmo_core.report.view import ReleaseView
from olmo_core.report.words import duration

GROUPS = {kind.box for kind in KINDS.values() if kind.grouped}
WIDTH, HEIGHT, GAP_X, GAP_Y, BEND = 114.0, 54.0, 12.0, 24.0, 24.0  # pixels; BEND: width of an edge in a layer
LINE = 14.5  # pixels from one line of a box to the next


@dataclass
class Box:
    """Steps drawn as one box, and the boxes they are made from."""

    title: str
    steps: list[Step] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)


def boxes(release: ReleaseView) -> dict[str, Box]:
    """Return the boxes by title, inputs first; a source that is already implied by another one is left out."""
    found: dict[str, Box] = {}
    of_step = {step.id: _title(release, step) for step in release.plan.steps}
    for step in release.plan.steps:
        box = found.setdefault(of_step[step.id], Box(of_step[step.id]))
        box.steps.append(step)
        box.sources |= {of_step[source.id] for source in step.inputs.values()} - {box.title}

    def above(title: str) -> set[str]:
        return set().union(*({source} | above(source) for source in found[title].sources))

    for box in found.values():
        box.sources -= set().union(*(above(source) for source in box.sources))
    return found


def graph_figure(release: ReleaseView) -> Figure:
    """Return the figure of the graph."""
    found = boxes(release)
    places, edges = _place(found)
    width = max(x for x, _ in places.values()) - min(x for x, _ in places.values()) + WIDTH + 8
    height = (max(y for _, y in places.values()) + 1) * (HEIGHT + GAP_Y) - GAP_Y + 8
    left = min(x for x, _ in places.values()) - WIDTH / 2 - 4
    with canvas(width, height) as drawn:
        drawn.set_layout_engine("none")
        axes = drawn.add_axes((0, 0, 1, 1))
        axes.set(xlim=(left, left + width), ylim=(height - 4, -4))
        axes.axis("off")
        for route in edges:
            axes.add_patch(PathPatch(_curve(route, places), fill=False, edgecolor=MUTED, linewidth=1.1))
        for title, box in found.items():
            x, layer = places[title]
            y = layer * (HEIGHT + GAP_Y)
            colour, dash = _outline(release, box)
            corner = (x - WIDTH / 2, y)
            shape = FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=6", mutation_aspect=1)
            shape.set(facecolor=SURFACE, edgecolor=colour, linewidth=1.4, linestyle=dash)
            axes.add_patch(shape)
            lines = [*title.split(", "), status(release, box)]
            for number, line in enumerate(lines):
                middle = y + HEIGHT / 2 + LINE * (number - (len(lines) - 1) / 2)
                size = min(FONT_SIZE if number == 0 else FONT_SIZE - 1, 1.55 * WIDTH / len(line))
                axes.text(x, middle + 4, line, ha="center", size=size, color=MUTED if number else INK)
        title = "Graph of steps"
        made, steps = len(release.records), len(release.plan.steps)
        description = f"{made} of {steps} steps are made, in {len(found)} groups; the table next to it lists them."
        svg = to_svg(drawn, "graph", title, description)
    rows = [(box.title, status(release, box), ", ".join(sorted(box.sources)) or "-") for box in found.values()]
    return Figure("graph", title, description, svg, Table("Groups of steps", ("group", "state", "made from"), rows, 3))


def status(release: ReleaseView, box: Box) -> str:
    """Return a box's state in words: how many of its steps are made, and the time that took."""
    states = [release.state(step) for step in box.steps]
    made = states.count("made")
    if made == len(states):
        seconds = sum(record.seconds for step in box.steps if (record := release.record(step)))
        count = f"{made} made" if box.title in GROUPS else "made"
        return f"{count}, {duration(seconds)}"
    if "set aside" in states:
        return f"{states.count('set aside')} of {len(states)} set aside" if len(states) > 1 else "set aside"
    return f"{made} of {len(states)} made" if made else "missing"


def _outline(release: ReleaseView, box: Box) -> tuple[str, str]:
    states = {release.state(step) for step in box.steps}
    if states == {"made"}:
        return ACCENT, "-"
    return (WARN, "-") if "set aside" in states else (MUTED, "--")


def _title(release: ReleaseView, step: Step) -> str:
    kind = kind_called(step.kind)
    if kind.part == STAGE:
        run = release.plan.run_of(step)
        return run.stage if run.ingredient is None else f"{run.stage}, seed {run.seed}"
    if kind.part == "publish" and step.name == MAIN:
        return MAIN
    return kind.box.format(name=step.name)


def _place(found: dict[str, Box]) -> tuple[dict[str, tuple[float, int]], list[list[str]]]:
    """Return title -> (centre, layer) of boxes and bends of edges, and every edge as the places on its route."""
    below: dict[str, list[str]] = {title: [] for title in found}
    for title, box in found.items():
        for source in sorted(box.sources):
            below[source].append(title)
    depth = _depth(found, lambda title: found[title].sources)
    deepest = max(depth.values())
    layer = {title: deepest - each for title, each in _depth(found, lambda title: below[title]).items()}
    edges = []
    order: dict[int, list[str]] = {}
    for title in found:
        order.setdefault(layer[title], []).append(title)
    above: dict[str, list[str]] = {title: [] for title in found}
    for title, box in found.items():
        for source in sorted(box.sources):
            bends = [f"{source}>{title}@{at}" for at in range(layer[source] + 1, layer[title])]
            route = [source, *bends, title]
            edges.append(route)
            for at, bend in enumerate(bends, layer[source] + 1):
                order.setdefault(at, []).append(bend)
            for upper, lower in pairwise(route):
                above.setdefault(lower, []).append(upper)
    places: dict[str, tuple[float, int]] = {}
    for at in sorted(order):
        wanted = {each: _mean([places[source][0] for source in above.get(each, [])]) for each in order[at]}
        row = sorted(order[at], key=lambda each: wanted[each])
        widths = [WIDTH if each in found else BEND for each in row]
        x = -(sum(widths) + GAP_X * (len(row) - 1)) / 2
        for each, own in zip(row, widths, strict=True):
            places[each] = (x + own / 2, at)
            x += own + GAP_X
    return places, edges


def _depth(found: dict[str, Box], ahead: Callable[[str], set[str] | list[str]]) -> dict[str, int]:
    """Return the length of the longest path ahead of each box, in boxes."""
    depth: dict[str, int] = {}

    def visit(title: str) -> int:
        if title not in depth:
            depth[title] = 1 + max((visit(each) for each in ahead(title)), default=-1)
        return depth[title]

    for title in found:
        visit(title)
    return depth


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _curve(route: list[str], places: dict[str, tuple[float, int]]) -> Path:
    """Return the curve of an edge, which leaves and enters boxes vertically."""
    points: list[tuple[float, float]] = []
    codes = []
    for upper, lower in pairwise(route):
        (x0, from_layer), (x1, to_layer) = places[upper], places[lower]
        top = from_layer * (HEIGHT + GAP_Y) + HEIGHT
        bottom = to_layer * (HEIGHT + GAP_Y)
        middle = (top + bottom) / 2
        points += [(x0, top), (x0, middle), (x1, middle), (x1, bottom)]
        codes += [Path.LINETO if points[4:] else Path.MOVETO, *[Path.CURVE4] * 3]
    return Path(points, codes)
