"""The guide to curation keeps its word: its recipe makes a plan, its table lists the filters, its filter drops."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from pages import ROOT, blocks

from olmo_core.documents.filters.filter import Filter, at_most
from olmo_core.documents.filters.table import FILTERS
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.recipe import load_recipe

PAGE = "docs/curate-text.md"


def test_another_limit_makes_the_corpus_anew_and_no_shard(tmp_path: Path) -> None:
    (block,) = (block for block in blocks(PAGE) if block.language == "yaml")
    (tmp_path / "mine.yaml").write_text(block.text)
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.jsonl").write_text('{"text": "one"}\n')
    recipe = str(tmp_path / "mine.yaml")
    plan = lay_out(load_recipe(recipe))
    other = lay_out(load_recipe(recipe, ["corpora.mine.filters.c4={unended_lines: {most: 0.5}}"]))
    changed = {step.label for step in other.steps} - {step.label for step in plan.steps if step in other.steps}
    assert {step.kind for step in plan.corpora["mine"].inputs.values()} == {"documents", "tags", "signatures"}
    assert not {label for label in changed if label.startswith(("documents/", "tags/", "signatures/"))}
    assert "corpus/mine" in changed


def test_table_lists_every_filter() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", (ROOT / PAGE).read_text(), re.M) == list(FILTERS)


def test_filter_of_the_guide_measures() -> None:
    (block,) = (block for block in blocks(PAGE) if block.language == "python")
    names: dict[str, Any] = {"Filter": Filter, "at_most": at_most}
    exec(block.text, names)
    values = np.array([names["DIGITS"].measure(text) for text in ("", "a1", "abc7")])
    assert names["DIGITS"].limits["digits"].outside(values[:, 0]).tolist() == [False, True, False]
