"""Parameters that every flow of a release takes, as forms and command lines show them."""

from typing import Annotated

from pydantic import Field

RecipeName = Annotated[str, Field(description="Built-in recipe by name, or the path of a YAML file.")]
ProfileName = Annotated[str, Field(description="Built-in profile by name, or the path of a YAML file.")]
Overrides = Annotated[tuple[str, ...], Field(description="Recipe fields to change, each `a.b=value`.")]
StageName = Annotated[str, Field(description="Stage of the recipe.")]
