"""A drawing becomes an SVG element that shares a page: ids of its own, colours of the style sheet, escaped words."""

import re
from xml.etree import ElementTree

import pytest

from olmo_core.report.figure import ACCENT, FONT_SIZE, SERIES, VARIABLES, canvas, look, to_svg, token_axis

SVG = "{http://www.w3.org/2000/svg}"


def drawing(key: str = "loss", title: str = "Title", description: str = "What is shown.") -> str:
    """Return the SVG of a curve with a shaded area, which has a clip path and markers, so ids that refer to each."""
    with canvas(200, 120) as drawn:
        axes = drawn.add_subplot()
        axes.fill_between([0, 1], [0, 0], [1, 2], color=SERIES[0], alpha=0.5)
        axes.plot([0, 1], [0, 2], color=ACCENT, marker="o")
        axes.set_xlabel("a $x$ label")
        return to_svg(drawn, key, title, description)


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


@pytest.fixture(scope="module")
def one() -> str:
    return drawing("one")


def test_size_is_the_canvas_in_pixels(one: str) -> None:
    root = parsed(one)
    assert (root.attrib["viewBox"], root.attrib["width"]) == ("0 0 200 120", "200")
    assert root.attrib["style"] == "--natural: 200px"


def test_ids_of_two_figures_differ_and_references_stay_within_one(one: str) -> None:
    found: dict[str, set[str]] = {}
    for key, svg in (("one", one), ("two", drawing("two"))):
        root = parsed(svg)
        found[key] = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
        used = set(re.findall(r'href="#([^"]*)"', svg)) | set(re.findall(r"url\(#([^)]*)\)", svg))
        assert len(used) >= 2, "a marker and a clip path"
        assert used <= found[key]
        assert set(root.attrib["aria-labelledby"].split()) <= found[key]
    assert not found["one"] & found["two"]


def test_title_and_description_are_escaped_text() -> None:
    hostile = "</desc><script>1 < 2 & \"'"
    root = parsed(drawing(title=hostile, description=hostile))
    assert [root.findtext(f"{SVG}{tag}") for tag in ("title", "desc")] == [hostile] * 2
    assert root.find(f".//{SVG}script") is None


def test_every_colour_is_a_variable_of_the_style_sheet(one: str) -> None:
    assert not re.findall(r"#[0-9a-f]{6}", one)
    assert set(re.findall(r"var\((--[\w-]+)\)", one)) <= set(VARIABLES.values())
    assert "var(--accent)" in one and "var(--series-0)" in one


def test_text_has_the_fonts_of_the_page_and_no_formulas(one: str) -> None:
    assert "font-family" not in one and "<style" not in one
    labels = [element.text for element in parsed(one).iter(f"{SVG}text")]
    assert "a $x$ label" in labels


def test_equal_drawings_are_equal_text(one: str) -> None:
    assert drawing("one") == one


def test_no_stand_in_is_black_or_the_beginning_of_another() -> None:
    """Matplotlib does not write black, and a pattern of alternatives takes the first that fits."""
    assert "#000000" not in VARIABLES
    assert all(len(colour) == 7 for colour in VARIABLES) and len(set(VARIABLES.values())) == len(VARIABLES)


def test_later_runs_repeat_markers_in_other_colours() -> None:
    first, eighth = look(0), look(len(SERIES))
    assert first.marker == eighth.marker and first.colour != eighth.colour
    assert [look(number).variable for number in range(3)] == ["--series-0", "--series-1", "--series-2"]


def test_token_axis_begins_at_zero_and_has_counts_with_units() -> None:
    with canvas(300, 100) as drawn:
        axes = drawn.add_subplot()
        axes.plot([2e9, 4e9], [0, 1])
        token_axis(axes, "tokens seen")
        drawn.canvas.draw()
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert axes.get_xlim()[0] == 0
        assert axes.get_xlabel() == "tokens seen"
    assert labels[0] == "0" and {"1B", "2B", "3B", "4B"} <= set(labels)


def test_style_of_figures_does_not_leak() -> None:
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    with canvas(100, 100):
        assert matplotlib.rcParams["font.size"] == FONT_SIZE != before
    assert matplotlib.rcParams["font.size"] == before
