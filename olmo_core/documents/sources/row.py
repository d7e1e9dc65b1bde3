"""Turns one row of a file, a mapping of column names to values, into a document or a `BadRow`."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from olmo_core.documents.document import Document, Value
from olmo_core.documents.sources.files import BadRow


class Columns(BaseModel):
    """Which columns of a row are what; a nested one is written with dots, such as `metadata.url`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field("text", min_length=1, description="Column with the text.")
    id: str = Field("id", min_length=1, description="Column with the id; a row without one is named by its place.")
    group: str | None = Field(
        None, min_length=1, description="Column of what is held out or trained on together, such as a book or a site."
    )
    metadata: tuple[str, ...] = Field((), description="Columns that are carried through to the token files.")

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of the top-level columns that are read, each once."""
        names = (self.text, self.id, *([self.group] if self.group else []), *self.metadata)
        return tuple(dict.fromkeys(name.partition(".")[0] for name in names))

    def document(self, row: Mapping[str, Any], where: str, address: str, at: int) -> Document | BadRow:
        """Return the document of a row.

        Args:
            row: column -> value.
            where: file and row, for messages.
            address: of the file.
            at: byte or row of the file that the row begins at; a document without an id is `address:at`.
        """
        text = _at(row, self.text)
        if text is None:
            return BadRow(where, "no text", f"column {self.text!r} is missing or null; there are {sorted(row)[:20]}")
        if not isinstance(text, str):
            return BadRow(where, "text of another type", f"column {self.text!r} is {_kind(text)}, not a string")
        name = _at(row, self.id)
        if not isinstance(name, str | int | None) or isinstance(name, bool):
            return BadRow(where, "id of another type", f"column {self.id!r} is {_kind(name)}, not a string or integer")
        group = _at(row, self.group) if self.group else None
        if not isinstance(group, str | int | None) or isinstance(group, bool):
            return BadRow(
                where, "group of another type", f"column {self.group!r} is {_kind(group)}, not a string or integer"
            )
        metadata: dict[str, Value] = {}
        for column in self.metadata:
            value = _at(row, column)
            if not isinstance(value, str | int | float | bool | None):
                return BadRow(where, "metadata of another type", f"column {column!r} is {_kind(value)}, not one value")
            if not _fits(value):
                return BadRow(
                    where, "metadata out of range", f"column {column!r} is {str(value)[:40]}, which JSON cannot hold"
                )
            if value is not None:
                metadata[column] = value
        identity = f"{address}:{at}" if name is None or name == "" else str(name)
        return Document(identity, text, "" if group is None else str(group), address, metadata)


def _at(row: Mapping[str, Any], column: str) -> Any:
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _fits(value: Value) -> bool:
    """Return whether a number can be written as JSON: finite, and of 64 bits if it is an integer."""
    return math.isfinite(value) if isinstance(value, float) else not isinstance(value, int) or -(2**63) <= value < 2**64


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")
