"""Figures of scores: intervals, the best model, the line from a run's start, and models side by side."""

import re
import warnings
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.recipe.plan import Plan
from olmo_core.report.figure import SOUP_LOOK, Figure, Look, look
from olmo_core.report.scores import NUDGE, Score, _figure, _nudge, _sentence, _start
from olmo_core.report.view import ReleaseView

LOOKS: dict[str, Look] = {"stage1": look(0), "stage2-ingredient1": look(1), "stage2-ingredient2": look(2)}
LOOKS["soup"] = SOUP_LOOK


def score(model: str, tokens: int, value: float, error: float | None = 0.1, series: str = "") -> Score:
    return Score(model, series or model.partition("-step")[0], tokens, value, error, 100)


@pytest.fixture(scope="module")
def release(plan: Plan) -> ReleaseView:
    return ReleaseView(plan, {}, {}, {})


SCORES = [
    score("stage1-step75", 1000, 2.0),
    score("stage1-step125", 2000, 1.5),
    score("stage2-ingredient1-step32", 3000, 1.25, None),
    score("stage2-ingredient2-step32", 3000, 1.375),
    score("soup", 3000, 1.0),
]


def figure(
    release: ReleaseView,
    scores: list[Score],
    what: str = "bits per byte, lower is better",
    chance: float | None = None,
) -> Figure:
    return _figure("key", "narrative", what, scores, chance, release, LOOKS)


def test_interval_is_1_96_standard_errors_to_each_side(release: ReleaseView) -> None:
    rows = {row[0]: row[3] for row in figure(release, SCORES).table.rows}
    assert rows["stage1-step75"] == "1.804 to 2.196"
    assert rows["stage2-ingredient1-step32"] == "-", "it has no standard error"


def test_standard_error_of_zero_is_an_interval(release: ReleaseView) -> None:
    (row,) = figure(release, [score("stage1-step75", 1000, 1.0, 0.0)]).table.rows
    assert row == ("stage1-step75", "1,000", "1.0000", "1.000 to 1.000", "100")


@pytest.mark.parametrize(("what", "best"), [("accuracy, higher is better", "a"), ("bits, lower is better", "c")])
def test_sentence_names_the_best_by_the_direction_of_the_metric(what: str, best: str) -> None:
    found = [score("b", 1, 0.5), score("a", 2, 0.75), score("c", 3, 0.25)]
    text = _sentence(what, found, 0.25)
    assert text.startswith(f"{what[0].upper()}{what[1:]}. 3 models; first b with 0.500, best {best} with ")
    assert text.endswith(" Guessing gets 0.25.")
    assert _sentence(what, found, 0.0).endswith(" Guessing gets 0.")
    assert "Guessing" not in _sentence(what, found, None)


def test_first_of_equally_good_models_is_named() -> None:
    assert "best a with" in _sentence("accuracy, higher is better", [score("a", 1, 0.5), score("b", 2, 0.5)], None)


def test_line_of_a_run_begins_at_the_model_that_it_starts_from(release: ReleaseView) -> None:
    assert [each.model for each in _start(release, "stage2-ingredient1", SCORES)] == ["stage1-step125"]
    assert _start(release, "stage1", SCORES) == [], "which starts from nothing"
    assert _start(release, "soup", SCORES) == []
    assert _start(release, "stage2-ingredient1", SCORES[2:]) == [], "its start was not evaluated"


LINE = re.compile(
    r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; (stroke-dasharray[^"]*|stroke: var\(--[^"]*)'
)


def lines(svg: str, style: str) -> list[list[tuple[float, float]]]:
    """Return the points of every line that is drawn in a style, such as a colour."""
    found = [re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", line) for line, own in LINE.findall(svg) if style in own]
    return [[(float(x), float(y)) for x, y in points] for points in found]


def test_curves_of_two_runs_begin_at_the_same_point(release: ReleaseView) -> None:
    svg = figure(release, SCORES).svg
    (stage1, *_), (first, *_), (second, *_) = (lines(svg, f"--series-{number}") for number in range(3))
    assert stage1[-1] == first[0] == second[0]
    assert first[-1][0] < second[-1][0], "they end at equal tokens, side by side"


@pytest.mark.parametrize("chance", [0.0, 5.0])
def test_axis_reaches_to_the_line_of_guessing(chance: float, release: ReleaseView) -> None:
    svg = figure(release, SCORES, chance=chance).svg
    (((_, left), (_, right)),) = lines(svg, "dasharray")
    (height,) = re.findall(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)
    assert left == right and 0 < left < float(height)
    assert ">chance<" in svg


def test_figure_without_chance_has_no_such_line(release: ReleaseView) -> None:
    svg = figure(release, SCORES).svg
    assert ">chance<" not in svg and lines(svg, "dasharray") == []


def test_equal_scores_have_an_axis(release: ReleaseView) -> None:
    """Matplotlib warns of a range of nothing, and draws one of its own choice."""
    equal = [score("stage1-step75", 1000, 1.0, None), score("stage1-step125", 2000, 1.0, None)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure(release, equal)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 3), min_size=1))
def test_models_at_equal_tokens_are_spread_evenly_around_them(ends: dict[str, int]) -> None:
    series = {name: [score(name, 1, 1.0), score(name, end, 1.0)] for name, end in ends.items()}
    for end in set(ends.values()):
        beside = [name for name in series if ends[name] == end]
        nudges = [_nudge(name, series) for name in beside]
        assert sum(nudges) == pytest.approx(0)
        assert [later - earlier for earlier, later in pairwise(nudges)] == pytest.approx([NUDGE] * (len(beside) - 1))


def test_unit_of_the_column_is_the_metric_without_its_direction(release: ReleaseView) -> None:
    table = figure(release, SCORES, "accuracy, higher is better").table
    assert table.columns[2] == "accuracy"
    assert table.caption == "narrative: accuracy, higher is better"
