"""How forms and dashboards show a flow: its parameters, and the name of its deployment."""

import inspect
from collections.abc import Callable
from typing import Annotated, ParamSpec, TypeVar, get_type_hints

from pydantic import Field
from pydantic.fields import FieldInfo

from olmo_core.hub.names import REPOSITORY
from olmo_core.recipe.recipe import Recipe

Given = ParamSpec("Given")
Result = TypeVar("Result")

RecipeName = Annotated[str, Field(description="Built-in recipe by name, or the path of a YAML file.")]
ProfileName = Annotated[str, Field(description="Built-in profile by name, or the path of a YAML file.")]
Override = Annotated[str, Field(pattern=r"^[\w.-]+=")]
Overrides = Annotated[tuple[Override, ...], Field(description="Recipe fields to override, each `a.b=value`.")]
StageName = Annotated[str, Field(description="Stage of the recipe.")]
PartNames = Annotated[
    tuple[str, ...] | None,
    Field(description="Parts to run: `data`, stages by name, `soup`, `evaluate`, `publish`; all if not given."),
]
Repository = Annotated[
    str | None,
    Field(
        pattern=REPOSITORY,
        description="Repository on the profile's Hub whose revisions are evaluated, `organisation/name`; "
        "if not given, the checkpoints of the artifact store.",
    ),
]
RevisionPattern = Annotated[
    str, Field(description="Revisions of the repository to evaluate, a shell pattern such as `stage2-*`.")
]


def described(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Append the descriptions of the parameters to a flow's docstring, from which Prefect builds its form."""
    lines = [inspect.cleandoc(function.__doc__ or ""), "", "Args:"]
    for name, hint in get_type_hints(function, include_extras=True).items():
        for note in getattr(hint, "__metadata__", ()):
            if isinstance(note, FieldInfo):
                lines.append(f"    {name}: {note.description}")
    function.__doc__ = "\n".join(lines)
    return function


def deployment_name(recipe: Recipe, part: str) -> str:
    """Return the name of a part's deployment: for a stage its role, if it is the only stage with that role."""
    starts = [name for name, each in recipe.stages.items() if each.start is None]
    others = [name for name in recipe.stages if name not in starts]
    roles = {starts[0]: "pretrain"} if len(starts) == 1 else {}
    roles |= {others[0]: "anneal"} if len(others) == 1 else {}
    return roles.get(part, part)
