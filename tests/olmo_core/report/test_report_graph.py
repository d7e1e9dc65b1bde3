"""The graph: boxes and edges match the dependencies of steps, and nothing in a layer overlaps."""

from itertools import combinations

import pytest
from report_world import plan_of

from olmo_core.artifact.store import Store
from olmo_core.recipe.plan import Plan
from olmo_core.report.graph import WIDTH, Box, _place, boxes, graph_figure
from olmo_core.report.view import ReleaseView, read_release

THREE_STAGES = (
    "stages.stage3={start: soup, mix: anneal, tokens: 16K, seeds: [1, 2, 3, 4], batch_size: 8, sequence_length: 64,"
    " checkpoint_every: 1000, schedule: {kind: linear, peak: 1.0e-3}}"
)


def reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        for source in edges[todo.pop()]:
            if source not in found:
                found.add(source)
                todo.append(source)
    return found


@pytest.fixture(params=["micro", "tiny", "three stages"])
def drawn(request: pytest.FixtureRequest) -> tuple[Plan, dict[str, Box]]:
    plan = plan_of("micro", THREE_STAGES) if request.param == "three stages" else plan_of(request.param)
    return plan, boxes(ReleaseView(plan, {}, {}, {}))


def test_boxes_contain_every_step_once_with_minimal_edges(drawn: tuple[Plan, dict[str, Box]]) -> None:
    plan, found = drawn
    of_step = {step.id: box.title for box in found.values() for step in box.steps}
    assert sorted(of_step) == sorted(step.id for step in plan.steps)
    assert sum(len(box.steps) for box in found.values()) == len(plan.steps)
    drawn_edges = {title: box.sources for title, box in found.items()}
    real: dict[str, set[str]] = {title: set() for title in found}
    for step in plan.steps:
        real[of_step[step.id]] |= {of_step[source.id] for source in step.inputs.values()} - {of_step[step.id]}
    for title in found:
        assert reachable(drawn_edges, title) == reachable(real, title)
        for source in drawn_edges[title]:
            others = drawn_edges[title] - {source}
            assert all(source not in reachable(drawn_edges, other) for other in others), "the edge is redundant"


def test_edges_go_down_and_boxes_do_not_overlap(drawn: tuple[Plan, dict[str, Box]]) -> None:
    _, found = drawn
    places, edges = _place(found)
    assert {(edge[0], edge[-1]) for edge in edges} == {(s, title) for title, box in found.items() for s in box.sources}
    for edge in edges:
        layers = [places[each][1] for each in edge]
        assert layers == list(range(layers[0], layers[0] + len(edge)))
    for one, other in combinations(places, 2):
        if places[one][1] == places[other][1]:
            room = (WIDTH if one in found else 0) / 2 + (WIDTH if other in found else 0) / 2
            assert abs(places[one][0] - places[other][0]) >= room


def test_boxes_count_steps_made(plan: Plan, store: Store) -> None:
    figure = graph_figure(read_release(plan, store))
    states = {row[0]: row[1] for row in figure.table.rows}
    assert states["corpora"].startswith("2 made, ")
    assert states["stage2, seed 42"].startswith("made, "), "one box holds the run and its checkpoint"
    assert states["main"].startswith("made, ")
    assert ">seed 42069<" in figure.svg
    few = ReleaseView(plan, {plan.corpora["wisdom"].id: next(store.records("corpus"))}, {plan.tokenizer.id: "gone"}, {})
    states = {row[0]: row[1] for row in graph_figure(few).table.rows}
    assert (states["corpora"], states["tokenizer"], states["soup"]) == ("1 of 2 made", "set aside", "missing")
