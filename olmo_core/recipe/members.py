"""A pydantic field whose value is one of several models, selected by a field of the value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Members:
    """Marks an annotated type as the union of the models in a table.

    Pydantic's own tagged unions need at least two members, written out, and a tag in every value.

    Attributes:
        field: name of the field that selects the model.
        models: value of that field -> model.
        default: value that selects the model if the field is absent.
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
