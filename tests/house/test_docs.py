"""Documents keep their word: recipes in them make plans, code in them runs, links lead somewhere."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from pages import PAGES, ROOT, Block, blocks
from pydantic import Field

from infra.profile import load_profile
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.documents.document import Document
from olmo_core.documents.formats import readers
from olmo_core.documents.sources.archive import read_members
from olmo_core.documents.sources.source import ArchiveSource
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.recipe import load_recipe

YAML = [block for block in blocks("docs/write-a-recipe.md") if block.language == "yaml"]
RECIPES = [block for block in YAML if block.text.startswith("base:")]
PROFILES = [block for block in YAML if block not in RECIPES]
OPERATION = [
    block
    for page in ("docs/operate.md", "docs/schedule-evaluations.md")
    for block in blocks(page)
    if block.language == "yaml"
]


@pytest.mark.parametrize("block", RECIPES, ids=str)
def test_a_recipe_in_the_guide_makes_a_plan(block: Block, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(block.text)
    plan = lay_out(load_recipe(str(tmp_path / "mine.yaml")))
    assert plan.id != lay_out(load_recipe("micro")).id


@pytest.mark.parametrize("block", PROFILES, ids=str)
def test_a_profile_in_the_guide_loads(block: Block, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(block.text)
    assert load_profile(str(tmp_path / "mine.yaml")).store_root.startswith("s3://")


@pytest.mark.parametrize("block", OPERATION, ids=str)
def test_a_profile_of_the_guide_to_operation_loads(block: Block, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(block.text)
    assert load_profile(str(tmp_path / "mine.yaml")) != load_profile("laptop")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_run_or_says_why_not(page: str) -> None:
    ways = ("run", "serve ", "dry", "services", "needs ")
    assert [block for block in blocks(page) if block.language == "sh" and not block.how.startswith(ways)] == []


def test_a_test_names_every_page_with_a_recipe_a_profile_or_a_program() -> None:
    tests = "".join(path.read_text() for path in ROOT.glob("tests/**/*.py"))
    unmarked = {
        page for page in PAGES for block in blocks(page) if block.language in {"yaml", "python"} and not block.how
    }
    assert [page for page in sorted(unmarked) if Path(page).stem not in tests] == []


def test_the_corpus_of_the_guide_rests_on_its_package(tmp_path: Path) -> None:
    block = next(block for block in blocks("docs/bring-a-corpus.md") if "networkx" in block.text)
    (tmp_path / "mine.yaml").write_text(block.text)
    plan = lay_out(load_recipe(str(tmp_path / "mine.yaml")))
    corpus = plan.corpora["graphs"]
    assert [step.label for step in corpus.closure()] == ["package/networkx", "documents/graphs-00000", "corpus/graphs"]
    assert corpus in list(plan.runs["stage1"][0].step.closure())


def test_files_of_the_guide_are_shards_and_a_table_lists_their_readers(tmp_path: Path) -> None:
    block = next(block for block in blocks("docs/bring-a-corpus.md") if "on_bad_row" in block.text)
    (tmp_path / "mine.yaml").write_text(block.text)
    (tmp_path / "data" / "web").mkdir(parents=True)
    (tmp_path / "data" / "web" / "a.jsonl.gz").write_bytes(b"x")
    (tmp_path / "data" / "extra.jsonl").write_bytes(b"x")
    (shard,) = lay_out(load_recipe(str(tmp_path / "mine.yaml"))).corpora["web"].inputs.values()
    assert [Path(address).name for address in sorted(shard.fields["files"])] == ["extra.jsonl", "a.jsonl.gz"]
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/bring-a-corpus.md").read_text(), re.M)
    assert set(listed) == set(readers())


def test_the_reader_of_the_guide_yields_documents_and_names_a_line_that_is_none(tmp_path: Path) -> None:
    (block,) = (block for block in blocks("docs/bring-a-corpus.md") if block.language == "python")
    names: dict[str, Any] = {
        "Iterator": Iterator,
        "Literal": Literal,
        "Path": Path,
        "msgspec": msgspec,
        "read_members": read_members,
    }
    names |= {"ArchiveSource": ArchiveSource, "Document": Document, "Field": Field}
    exec(block.text, names)
    source = names["LinesSource"](reader="lines", package="mine", members=("*.jsonl",))
    for text, name in (('{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n', "good"), ('{"id": "a"}\n', "bad")):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("lines.jsonl", text)
    assert list(source.documents(tmp_path / "good.zip")) == [Document("a", "one"), Document("b", "two")]
    with pytest.raises(ValueError, match=r"bad\.zip: lines\.jsonl, line 1: .*text.*; correct it"):
        list(source.documents(tmp_path / "bad.zip"))


def test_the_guide_has_recipes_and_a_profile() -> None:
    assert (len(RECIPES), len(PROFILES)) == (4, 1)


def test_the_step_in_the_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its two halves are put into a module and make an artifact from the corpus of micro, once."""
    imports = [
        "import json",
        "from typing import Any",
        "from olmo_core.artifact.identity import Step",
        "from olmo_core.artifact.imports import swift_imports",
        "from olmo_core.artifact.job import Job",
        "from olmo_core.documents.corpus import read_training, training_inputs",
    ]
    halves = [block.text for block in blocks("docs/write-a-step.md") if block.language == "python"]
    (tmp_path / "guide_lengths.py").write_text("\n".join([*imports, *halves]))
    monkeypatch.syspath_prepend(tmp_path)
    import guide_lengths  # type: ignore[import-not-found]

    corpus = lay_out(load_recipe("micro")).corpora["wisdom"]
    store = Store(tmp_path / "store")
    *_, report = (make(each, store).artifact.record.result for each in corpus.closure())
    step = guide_lengths.lengths_step(corpus, 20)
    made = make(step, store)
    counts = json.loads((made.artifact.path / "lengths.json").read_text())
    assert sum(counts) == made.artifact.record.result["documents"] == report["train"][0]["documents"]
    assert make(step, store).reused


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_a_file_and_to_a_heading_in_it(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.S)
    targets = [each for each in re.findall(r"\]\(([^)]+)", text) if "://" not in each]
    assert [each for each in targets if not leads_somewhere(ROOT / page, each)] == []


def test_the_index_lists_every_page_once() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "README.md").read_text())
    assert sorted(["README.md", *listed]) == sorted(path.name for path in ROOT.glob("docs/*.md"))


def leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    path = page.parent / name if name else page
    if not path.is_file() or not anchor:
        return path.is_file()
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_a_link_to_a_missing_file_or_heading_is_found() -> None:
    page = ROOT / "docs" / "operate.md"
    assert leads_somewhere(page, "run-on-a-cluster.md#the-image")
    assert leads_somewhere(page, "#up-and-down")
    assert [each for each in ("run.md", "sizes.md#nowhere", "#nowhere") if leads_somewhere(page, each)] == []


def test_every_folder_of_the_map_is_there_and_no_other() -> None:
    (map_,) = (block.text for block in blocks("README.md") if "\n  recipe/" in block.text)
    named = re.findall(r"^(  )?(\w+)/", map_, flags=re.M)
    assert [name for inner, name in named if not inner if not (ROOT / name).is_dir()] == []
    rooms = {path.name for path in (ROOT / "olmo_core").iterdir() if any(path.glob("*.py"))}
    assert {name for inner, name in named if inner} == rooms


def test_the_guide_to_benchmarks_names_each() -> None:
    (block,) = blocks("docs/benchmarks.md")
    named = re.findall(r"^python (benchmarks/\w+\.py)", block.text, re.M)
    usage = {str(path.relative_to(ROOT)): path.read_text() for path in ROOT.glob("benchmarks/*.py")}
    assert sorted(named) == sorted(path for path, text in usage.items() if f"\n    python {path}" in text)
