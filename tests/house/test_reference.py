"""The reference pages have every field of a recipe and a profile, as the code has it today."""

import importlib.util
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pages import ROOT
from pydantic import BaseModel, Field

SPEC = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
assert SPEC is not None and SPEC.loader is not None
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)


@pytest.mark.parametrize("noun", reference.FILES)
def test_the_reference_is_that_of_the_code(noun: str) -> None:
    written = (ROOT / "docs" / f"reference-{noun}.md").read_text()
    assert written == reference.page(noun), "run `python docs/reference.py`"


@pytest.mark.parametrize("noun", reference.FILES)
def test_every_field_that_pydantic_knows_is_in_the_reference_and_has_a_meaning(noun: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", reference.page(noun), re.M)
    assert [name for name, cells in rows if cells.endswith("| ")] == []
    schema = reference.FILES[noun].model_json_schema()
    known = [name for each in [schema, *schema["$defs"].values()] for name in each["properties"]]
    read_as = [name for model in reference.READ_AS.values() for name in model.model_fields] if noun == "recipe" else []
    assert sorted(name for name, _ in rows) == sorted([*known, *read_as])


class Cat(BaseModel):
    """A cat."""

    kind: Literal["cat", "tom"] = Field(description="Kind of animal.")
    lives: int | None = Field(9, ge=1, le=9, description="Lives | left.")


class Dog(BaseModel):
    """A dog.

    More than a reader needs.
    """

    kind: Literal["dog"] = Field(description="Kind of animal.")
    home: Path = Field(Path("kennel"), description="Where it sleeps.")


Animal = Annotated[Cat | Dog, Field(discriminator="kind")]


class House(BaseModel):
    """A house."""

    pets: dict[str, Animal] = Field(min_length=1, description="Animals by name.")
    dogs: tuple[Dog, ...] = Field((), description="Other dogs.")


def test_a_page_shows_members_of_a_union_limits_and_shared_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, Any] = {"recipe": House}
    monkeypatch.setattr(reference, "FILES", files)
    tables = reference.page("recipe").partition("## Top level\n")[2]
    assert (
        tables
        == """
A house.

| field | type | default | meaning |
|---|---|---|---|
| `pets` | name → [kind: cat or tom](#petsname-kind-cat-or-tom), [kind: dog](#petsname-kind-dog), not empty | required \
| Animals by name. |
| `dogs` | list of [kind: dog](#petsname-kind-dog) | `[]` | Other dogs. |

## pets.NAME, kind: cat or tom

A cat.

| field | type | default | meaning |
|---|---|---|---|
| `kind` | `cat` or `tom` | required | Kind of animal. |
| `lives` | integer ≥ 1, ≤ 9, or `null` | `9` | Lives \\| left. |

## pets.NAME, kind: dog

A dog.
The same fields are read at `dogs.N`.

| field | type | default | meaning |
|---|---|---|---|
| `kind` | `dog` | required | Kind of animal. |
| `home` | path | `kennel` | Where it sleeps. |
"""
    )
