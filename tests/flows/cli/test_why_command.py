"""`olmo why`: a hit, and a miss with every value that differs."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from report_world import commit
from rich.console import Console

from flows.cli.why import explain, print_why
from olmo_core.artifact.store import Store
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan, UnknownStepError


@pytest.fixture(scope="module")
def home(plan: Plan, store: Store, empty_home: Path) -> Path:
    """A home in which the tokenizer is made."""
    for step in plan.tokenizer.closure():
        commit(plan, store, step)
    return empty_home


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLMO_HOME", str(home))


def printed(found: dict[str, Any]) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    print_why(console, found)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def test_made_step_is_a_hit(plan: Plan) -> None:
    found = explain("micro", "laptop", [], plan.tokenizer.label, False)
    assert (found["step"], found["id"], found["hit"]) == (plan.tokenizer.label, plan.tokenizer.id, True)
    assert printed(found) == [f"{plan.tokenizer.label} ({plan.tokenizer.id[:12]}): hit: {found['reason']}"]


def test_changed_field_is_a_line_with_both_values(plan: Plan) -> None:
    size = plan.tokenizer.fields["vocab_size"]
    found = explain("micro", "laptop", [f"tokenizer.vocab_size={size + 64}"], plan.tokenizer.label, False)
    assert not found["hit"]
    assert f"{plan.tokenizer.label}: fields.vocab_size was {size}, is now {size + 64}" in found["differences"]
    first, *lines = printed(found)
    assert f"): miss: {len(found['differences'])} declared value(s) differ from {plan.tokenizer.folder}" in first
    assert lines == [f"  {each}" for each in found["differences"]]


def test_step_of_a_kind_never_made_has_no_differences(plan: Plan) -> None:
    found = explain("micro", "laptop", [], "soup/soup", False)
    assert (found["hit"], found["differences"]) == (False, [])
    assert found["reason"] == "no soup was ever made in this store"


def test_explanation_is_plain_json() -> None:
    found = explain("micro", "laptop", [], "soup/soup", True)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("beginning", [6, 12, 64])
def test_step_is_found_by_the_beginning_of_its_id(beginning: int, plan: Plan) -> None:
    assert explain("micro", "laptop", [], plan.tokenizer.id[:beginning], False)["step"] == plan.tokenizer.label


def test_names_that_are_not_known_are_refused() -> None:
    with pytest.raises(UnknownStepError, match=r"soup/sop.*soup/soup"):
        explain("micro", "laptop", [], "soup/sop", False)
    with pytest.raises(ConfigError, match="laptp"):
        explain("micro", "laptp", [], "soup/soup", False)
    with pytest.raises(ConfigError, match="mikro"):
        explain("mikro", "laptop", [], "soup/soup", False)
