"""A field that holds one of several models, chosen by a field of the value itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Members:
    """Marks an annotated type as the union of these models, of which a table has one or more.

    Pydantic's own tagged unions need at least two members, written out, and a tag in every value.

    Attributes:
        field: which says what member a value is.
        models: of the members, by the value of that field.
        default: member of a value without the field.
    """

    field: str
    models: Mapping[str, type[BaseModel]]
    default: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema that pydantic validates by."""
        choices = {name: handler.generate_schema(model) for name, model in self.models.items()}
        union = core_schema.tagged_union_schema(choices, discriminator=self.field)
        return core_schema.no_info_before_validator_function(self._with_default, union)

    def _with_default(self, value: Any) -> Any:
        return {self.field: self.default, **value} if isinstance(value, Mapping) else value
