"""Boxes of any graph: edges are its transitive reduction, and the layout holds every box once, above what it makes."""

from collections.abc import Iterable, Mapping
from itertools import combinations, pairwise
from types import SimpleNamespace
from typing import Any, cast

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.artifact.identity import Step
from olmo_core.report.figure import ACCENT, MUTED, WARN
from olmo_core.report.graph import BEND, GAP_X, WIDTH, Box, _outline, _place, boxes, status
from olmo_core.report.view import ReleaseView

Edges = Mapping[int, set[int]]


def soups(edges: Edges) -> list[Step]:
    """Return a step for each number, made from those of its set; each is a box by itself."""
    steps: list[Step] = []
    for number, sources in sorted(edges.items()):
        inputs = {f"ingredient{source}": steps[source] for source in sorted(sources)}
        steps.append(Step("soup", f"s{number}", 1, {"number": number}, inputs))
    return steps


def view(steps: list[Step], made: Mapping[str, Any] | None = None, aside: Iterable[Step] = ()) -> ReleaseView:
    plan = SimpleNamespace(steps=steps)
    return ReleaseView(cast(Any, plan), cast(Any, made or {}), {step.id: "gone" for step in aside}, {})


@st.composite
def graphs(draw: st.DrawFn) -> Edges:
    size = draw(st.integers(1, 9))
    return {number: draw(st.sets(st.integers(0, number - 1))) if number else set() for number in range(size)}


@settings(max_examples=60)
@given(graphs())
def test_edges_are_the_transitive_reduction(edges: Edges) -> None:
    whole = networkx.DiGraph()
    whole.add_nodes_from(f"s{number}" for number in edges)
    whole.add_edges_from((f"s{source}", f"s{number}") for number, sources in edges.items() for source in sources)
    found = {(source, title) for title, box in boxes(view(soups(edges))).items() for source in box.sources}
    assert found == set(networkx.transitive_reduction(whole).edges)


@settings(max_examples=60)
@given(graphs())
def test_layout_puts_each_box_below_its_sources_without_overlap(edges: Edges) -> None:
    found = boxes(view(soups(edges)))
    places, routes = _place(found)
    bends = {each for route in routes for each in route[1:-1]}
    assert places.keys() == found.keys() | bends, "no box is left out, and an edge bends only at places of its own"
    assert sorted((route[0], route[-1]) for route in routes) == sorted(
        (source, title) for title, box in found.items() for source in box.sources
    )
    for route in routes:
        assert all(places[lower][1] == places[upper][1] + 1 for upper, lower in pairwise(route))
    for one, other in combinations(places, 2):
        if places[one][1] == places[other][1]:
            room = sum(WIDTH if each in found else BEND for each in (one, other)) / 2 + GAP_X
            assert abs(places[one][0] - places[other][0]) >= room - 1e-6


@settings(max_examples=60)
@given(graphs())
def test_every_row_is_centred(edges: Edges) -> None:
    found = boxes(view(soups(edges)))
    places, _ = _place(found)
    for row in {layer for _, layer in places.values()}:
        own = [(x, WIDTH if each in found else BEND) for each, (x, layer) in places.items() if layer == row]
        left, right = min(x - width / 2 for x, width in own), max(x + width / 2 for x, width in own)
        assert left == pytest.approx(-right)


def test_box_stands_as_low_as_what_is_made_from_it_allows() -> None:
    """Of a chain of three and a source that only the last needs, the source is drawn beside the second."""
    places, routes = _place(boxes(view(soups({0: set(), 1: {0}, 2: set(), 3: {1, 2}}))))
    assert {title: layer for title, (_, layer) in places.items()} == {"s0": 0, "s1": 1, "s2": 1, "s3": 2}
    assert all(len(route) == 2 for route in routes), "no edge crosses a layer"


RESULTS = [Step("result", f"m{number}", 1, {"number": number}) for number in range(3)]
RECORD = SimpleNamespace(seconds=40.0)


@pytest.mark.parametrize(
    ("made", "aside", "state", "outline"),
    [
        (0, 0, "missing", (MUTED, "--")),
        (2, 0, "2 of 3 made", (MUTED, "--")),
        (3, 0, "3 made, 2 min 00 s", (ACCENT, "-")),
        (0, 1, "1 of 3 set aside", (WARN, "-")),
        (2, 1, "1 of 3 set aside", (WARN, "-")),
    ],
)
def test_box_of_many_steps_counts_those_made(made: int, aside: int, state: str, outline: tuple[str, str]) -> None:
    release = view(RESULTS, {step.id: RECORD for step in RESULTS[:made]}, RESULTS[made : made + aside])
    (box,) = boxes(release).values()
    assert box.title == "evaluations"
    assert status(release, box) == state
    assert _outline(release, box) == outline


def test_box_of_one_step_has_no_count() -> None:
    (step,) = soups({0: set()})
    box = Box("s0", [step])
    assert status(view([step], {step.id: RECORD}), box) == "made, 40 s"
    assert status(view([step], {}, [step]), box) == "set aside"
    assert status(view([step]), box) == "missing"
