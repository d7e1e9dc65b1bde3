"""The soup against its ingredients, as a decision recorded them: rows, words and the order of candidates."""

import re
from typing import Any

import pytest

from olmo_core.report.comparison import candidates_table, comparison_figure

MEAN = {"difference": -0.0123, "low": -0.02, "high": -0.0046, "confidence": 0.95}
BEST = {"difference": 0.001, "low": -0.0031, "high": 0.0052, "confidence": 0.95, "ingredient": "stage2-ingredient2"}


def decision(**changes: Any) -> dict[str, Any]:
    candidates = {
        "soup": {"bits_per_byte": 1.2, "sources": {"wisdom": 1.1, "narrative": 1.3}},
        "stage2-ingredient2": {"bits_per_byte": 1.21, "sources": {"wisdom": 1.0, "narrative": 1.42}},
        "stage2-ingredient1": {"bits_per_byte": 1.25, "sources": {"wisdom": 1.15, "narrative": 1.35}},
    }
    found = {
        "main": "stage2-ingredient2",
        "average": "macro",
        "sources": ["wisdom", "narrative"],
        "candidates": candidates,
        "comparisons": {"soup_against_mean": MEAN, "soup_above_best": BEST},
    }
    return {**found, **changes}


def test_rows_name_what_the_soup_is_compared_with() -> None:
    figure = comparison_figure(decision())
    assert figure is not None
    assert figure.table.rows == [
        ("soup against the mean of the ingredients", "-0.0123", "-0.0200", "-0.0046", "95%"),
        ("soup above stage2-ingredient2", "+0.0010", "-0.0031", "+0.0052", "95%"),
    ]


def test_description_says_every_interval_in_words() -> None:
    figure = comparison_figure(decision())
    assert figure is not None
    assert figure.description == (
        "Soup against the mean of the ingredients: -0.0123, 95% interval -0.0200 to -0.0046. "
        "Soup above stage2-ingredient2: +0.0010, 95% interval -0.0031 to +0.0052."
    )
    assert figure.description in figure.svg


@pytest.mark.parametrize(("confidence", "shown"), [(0.95, "95%"), (0.9, "90%"), (0.975, "97.5%")])
def test_confidence_is_that_of_the_decision(confidence: float, shown: str) -> None:
    figure = comparison_figure(decision(comparisons={"soup_against_mean": {**MEAN, "confidence": confidence}}))
    assert figure is not None
    assert figure.title == f"Soup minus ingredients, with {shown} intervals"
    assert figure.table.rows[0][-1] == shown


def test_every_comparison_adds_a_row_of_pixels() -> None:
    heights = []
    for count in (1, 2, 3):
        rows = {f"soup_against_{number}": MEAN for number in range(count)}
        figure = comparison_figure(decision(comparisons=rows))
        assert figure is not None
        (height,) = re.findall(r'viewBox="0 0 400 (\d+)"', figure.svg)
        heights.append(int(height))
    assert heights[1] - heights[0] == heights[2] - heights[1] == 52


def test_main_is_the_first_candidate_and_the_others_follow_by_name() -> None:
    assert [row[0] for row in candidates_table(decision()).rows] == [
        "stage2-ingredient2 (main)",
        "soup",
        "stage2-ingredient1",
    ]


@pytest.mark.parametrize(
    ("sources", "values"), [(["wisdom", "narrative"], ("1.1000", "1.3000")), (["narrative"], ("1.3000",))]
)
def test_scores_follow_the_sources_of_the_decision(sources: list[str], values: tuple[str, ...]) -> None:
    table = candidates_table(decision(sources=sources))
    assert table.columns == ("candidate", "mean of sources", *sources)
    assert table.rows[1] == ("soup", "1.2000", *values)


def test_average_over_bytes_is_called_so() -> None:
    assert candidates_table(decision(average="micro")).columns[1] == "all bytes alike"
