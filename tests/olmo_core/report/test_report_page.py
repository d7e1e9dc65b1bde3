"""The page of complete and partial releases: its content, that it is self-contained, and that it is accessible."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from report_world import fill, plan_of

from olmo_core.artifact.store import Store
from olmo_core.evaluate.task import HELDOUT
from olmo_core.recipe.compute import Compute
from olmo_core.recipe.plan import Plan
from olmo_core.report.page import render

VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}


class Page(HTMLParser):
    """Elements of a page with their attributes, and the text of each kind of element; checks that tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def whole(plan: Plan, store: Store, compute: Compute) -> str:
    return render(plan, store, compute)


@pytest.fixture(scope="module")
def nothing(plan: Plan, compute: Compute, tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(plan, Store(tmp_path_factory.mktemp("empty")), compute)


def test_page_names_main_and_load_line_of_every_revision(whole: str, plan: Plan) -> None:
    page = Page(whole)
    assert page.texts["h1"] == ["OLMo micro"]
    assert "main is soup" in re.sub(r"\s+", " ", page.texts["main"][0])
    for revision in plan.revisions:
        line = f'AutoModelForCausalLM.from_pretrained("olmo-release/micro", revision="{revision.name}")'
        assert line in page.texts["code"]
    assert "Not checked." in page.texts["strong"]
    assert "This release is not complete." not in whole
    assert "stage2-ingredient2" in page.texts["ul"][-1], "every run is in the legend"


def test_empty_release_has_a_page(nothing: str, plan: Plan) -> None:
    text = re.sub(r"\s+", " ", Page(nothing).texts["body"][0])
    assert f"This release is not complete. {len(plan.steps)} of {len(plan.steps)} steps are missing" in text
    assert "Not decided yet: the step decision/main is missing." in text
    assert "No step of training yet: stage1, stage2-ingredient1, stage2-ingredient2." in text
    assert "Not evaluated yet: stage1-step75," in text


def test_half_made_release_shows_made_part(plan: Plan, compute: Compute, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = [*plan.steps_of("data"), *plan.steps_of("stage1")]
    end = plan.runs["stage1"][0].end
    fill(plan, store, [*first, plan.result(end, HELDOUT), plan.result(end, "kinds")])
    page = Page(render(plan, store, compute))
    headings = page.texts["h3"] + page.texts["h4"]
    assert "Training loss of stage1" in headings
    assert "Training loss of stage2" not in headings
    assert "narrative" in headings
    assert "4 of 17 made" in page.texts["table"][0], "two tasks and two of fifteen results"
    assert "Not evaluated yet: stage1-step75, stage1-step125 on opposites, stage2" in page.texts["main"][0]
    assert "2 of 2 made" not in page.texts["table"][0] and "stage2, seed 42missing" in page.texts["table"][0]


@pytest.mark.parametrize("name", ["whole", "nothing"])
def test_page_references_nothing_external(name: str, request: pytest.FixtureRequest) -> None:
    text: str = request.getfixturevalue(name)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "image"} & {tag for tag, _ in page.elements}
    assert not re.search(r"https?://|//\w|@import|\bsrc=", re.sub(r'xmlns(:\w+)?="[^"]*"', "", text))
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', text))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert len(text.encode()) < 1_000_000


@pytest.mark.parametrize("name", ["whole", "nothing"])
def test_page_is_accessible(name: str, request: pytest.FixtureRequest) -> None:
    text: str = request.getfixturevalue(name)
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    pointed = [attributes.get("aria-labelledby") or "" for _, attributes in page.elements]
    pointed += [target[1:] for target in re.findall(r'href="([^"]*)"', text) + re.findall(r"url\(([^)]*)\)", text)]
    assert {each for names in pointed for each in names.split()} <= set(ids)
    assert all(drawing["role"] == "img" and drawing["aria-labelledby"] for drawing in page.all("svg"))
    assert all(page.texts["title"]) and all(page.texts.get("desc", ["there is a graph at least"]))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all("scope" in attributes for attributes in page.all("th"))
    assert all(page.texts["figcaption"])
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("a")[0] == {"class": "skip", "href": "#main"}


def test_every_figure_has_a_table(whole: str) -> None:
    figures = re.findall(r"<figure>.*?</figure>", whole, re.DOTALL)
    with_numbers = [each for each in figures if "<details>" in each and "<table>" in each]
    # The table of the graph is outside its figure.
    assert len(figures) == 1 + len(with_numbers) == 1 + 1 + 2 + 2 + 2


def test_page_of_thousands_of_steps_is_small(compute: Compute, tmp_path: Path) -> None:
    plan = plan_of("olmo2-1b")
    text = render(plan, Store(tmp_path), compute)
    page = Page(text)
    checkpoints = len(plan.checkpoints())
    assert checkpoints > 1000 and len(text) < 500_000
    listed = next(table for table in page.texts["table"] if table.strip().startswith("All steps"))
    assert f"and {checkpoints - 1:,} more" in listed and f"{checkpoints:,} missing" in listed
    assert all(f'<th scope="row">{revision.name}' in text for revision in plan.revisions)
    assert "from_pretrained" not in text, "nothing can be loaded yet"


def test_text_contrast_meets_wcag_in_both_themes(nothing: str) -> None:
    themes = re.findall(r":root \{([^}]*)\}", nothing)[:2]
    for theme in themes:
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", theme))
        text = [name for name in colours if name in {"ink", "muted", "accent", "warn"} or name.startswith("series")]
        for ground in ("page", "surface"):
            for name in text:
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        assert contrast(colours["ink"], colours["notice"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_equal_records_give_equal_bytes_across_processes(
    whole: str, plan: Plan, store: Store, compute: Compute
) -> None:
    assert render(plan, store, compute) == whole
    code = (
        "import sys; from olmo_core.artifact.store import Store; from olmo_core.recipe.layout import lay_out;"
        "from olmo_core.recipe.compute import Compute; from olmo_core.recipe.recipe import load_recipe;"
        "from olmo_core.report.page import render;"
        "sys.stdout.buffer.write("
        "render(lay_out(load_recipe('micro')), Store(sys.argv[1]), Compute(name='laptop')).encode())"
    )
    again = subprocess.run([sys.executable, "-c", code, store.root], capture_output=True, check=True, timeout=120)
    assert again.stdout.decode() == whole


def test_recipe_text_is_escaped(compute: Compute, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> $x$ & \"'"
    plan = plan_of(
        "micro",
        f"release.card.title={hostile}",
        f"release.card.description={hostile}",
        f"corpora.wisdom.licence={hostile}",
    )
    page = Page(render(plan, Store(tmp_path), compute))
    assert page.all("script") == []
    assert page.texts["h1"] == [hostile]
    assert hostile in page.texts["td"]


def test_page_contains_no_path_or_host(whole: str, store: Store) -> None:
    assert store.root not in whole
    record = next(iter(store.records()))
    assert record.host not in re.findall(r"[\w.-]+", re.sub(r"<[^>]*>", " ", whole))
