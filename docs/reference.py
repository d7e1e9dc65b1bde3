"""Write the reference of every recipe and profile field: `python docs/reference.py`.

One table a section, in the order of the models that read the file. Type, limits, default and meaning come from the
code; a test compares the pages with it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from infra.profile import Profile
from olmo_core.model.config import ModelConfig
from olmo_core.recipe.members import Members
from olmo_core.recipe.quantity import parse_count
from olmo_core.recipe.recipe import Recipe

FOLDER = Path(__file__).parent
FILES: dict[str, type[BaseModel]] = {"recipe": Recipe, "profile": Profile}
# Fields declared as plain mappings, and the models they are read with.
READ_AS: dict[tuple[type[BaseModel], str], type[BaseModel]] = {(Recipe, "model"): ModelConfig}

BEGINNINGS = {
    "recipe": """\
# Fields of a recipe

A [recipe](write-a-recipe.md) decides what is made; a changed field gives a new id to everything that depends on it. A
heading is the place of a section in the file, and the beginning of an override such as `--stages.stage1.tokens=2M`.
""",
    "profile": """\
# Fields of a profile

A profile decides where and how a release runs: [training](choose-how-training-runs.md), [servers](operate.md),
[clusters](run-on-a-cluster.md). It changes no id. A heading is the place of a section in the file.
""",
}
LEGEND = """
NAME stands for a name of your choice (lower-case letters, digits, `_`, `-`), N for a place in a list, counted from 0. A
*count* is a whole number that may be written as `250K`, `2M`, `1.5B`, `4T` or `2e6`.

`python docs/reference.py` writes this page from the code.
"""
HEADER = "\n| field | type | default | meaning |\n|---|---|---|---|\n"

WORDS = {int: "integer", float: "number", bool: "`true` or `false`", str: "text", Path: "path"}
BELOW = {dict: ".NAME", tuple: ".N"}
SIGNS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}


@dataclass(frozen=True)
class Section:
    """The fields that are read at one place of a file; `tag` names the member of a union, as `reader: wikipedia`."""

    place: str
    model: type[BaseModel]
    tag: str = ""

    @property
    def title(self) -> str:
        """Heading of the section."""
        return ", ".join(filter(None, [self.place, self.tag])) or "Top level"

    @property
    def link(self) -> str:
        """A link to the heading, by the anchor that GitHub gives it."""
        anchor = re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")
        return f"[{self.tag or 'section'}](#{anchor})"


def page(noun: str) -> str:
    """Return the reference of a recipe or of a profile, in Markdown."""
    found = list(sections(Section("", FILES[noun])))
    places: dict[type[BaseModel], list[Section]] = {}
    for section in found:
        places.setdefault(section.model, []).append(section)
    text = BEGINNINGS[noun] + LEGEND
    for model, (first, *others) in places.items():
        text += f"\n## {first.title}\n\n{_summary(model)}\n"
        if others:
            text += f"The same fields are read at {' and '.join(f'`{each.title}`' for each in others)}.\n"
        text += HEADER + "".join(_row(first, name, places) for name in model.model_fields)
    return text


def sections(top: Section) -> Iterator[Section]:
    """Yield a section and, after it, those of its fields, depth first."""
    yield top
    for name in top.model.model_fields:
        for below in sections_of(top, name):
            yield from sections(below)


def sections_of(section: Section, name: str) -> Iterator[Section]:
    """Yield the sections that a field holds: none for a plain value, several for a union."""
    field = section.model.model_fields[name]
    place = f"{section.place}.{name}".lstrip(".")
    return _models(READ_AS.get((section.model, name), field.annotation), place, field.discriminator)


def _models(annotation: Any, place: str, discriminator: Any) -> Iterator[Section]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        tag = ""
        if isinstance(discriminator, str):
            tag = f"{discriminator}: {' or '.join(get_args(annotation.model_fields[discriminator].annotation))}"
        yield Section(place, annotation, tag)
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        given = [each.discriminator for each in arguments[1:] if isinstance(each, FieldInfo) and each.discriminator]
        members = next((each for each in arguments[1:] if isinstance(each, Members)), None)
        if members is not None:
            arguments, discriminator = tuple(members.models.values()), members.field
        else:
            arguments, discriminator = arguments[:1], (given or [discriminator])[0]
    for argument in arguments:
        yield from _models(argument, place + BELOW.get(origin, ""), discriminator)


def _summary(model: type[BaseModel]) -> str:
    """Return the first paragraph of a model's docstring, on one line."""
    return " ".join((model.__doc__ or "").strip().partition("\n\n")[0].split())


def _row(section: Section, name: str, places: dict[type[BaseModel], list[Section]]) -> str:
    field = section.model.model_fields[name]
    links = ", ".join(places[each.model][0].link for each in sections_of(section, name))
    kind = links if (section.model, name) in READ_AS else _kind(field.annotation, field.metadata, links)
    if NoneType in get_args(field.annotation) and field.default is not None:
        kind += ", or `null`"
    cells = [f"`{name}`", kind, _default(field), field.description or ""]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _kind(annotation: Any, metadata: list[Any], links: str) -> str:
    """Return a type in words, with its limits; a model is said by `links`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [one for each in arguments[1:] for one in (each.metadata if isinstance(each, FieldInfo) else [each])]
        return _kind(arguments[0], inner + metadata, links)
    if origin in (Union, UnionType):
        members = [_kind(each, metadata, links) for each in arguments if each is not NoneType]
        return " or ".join(dict.fromkeys(members))
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_kind(arguments[0], [], links)}{_limits(metadata)}"
    if origin is dict:
        return f"name → {_kind(arguments[1], [], links)}{_limits(metadata)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return links
    count = any(isinstance(each, BeforeValidator) and each.func is parse_count for each in metadata)
    return ("count" if count else WORDS[annotation]) + _limits(metadata)


def _limits(metadata: list[Any]) -> str:
    """Return the bounds of a number, and whether something may be empty. A pattern is explained by the meaning."""
    found = [(sign, getattr(each, name, None)) for each in metadata for name, sign in SIGNS.items()]
    bounds = ", ".join(sign.format(value) for sign, value in found if value is not None)
    return (f" {bounds}" if bounds else "") + (
        ", not empty" if any(getattr(each, "min_length", 0) for each in metadata) else ""
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "those of the section"
    plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return f"`{text}`"


if __name__ == "__main__":
    for noun in FILES:
        (FOLDER / f"reference-{noun}.md").write_text(page(noun), encoding="utf-8")
