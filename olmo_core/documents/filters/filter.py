"""What a filter is: a function that measures a text, and the limits within which a document is kept.

Texts are measured once (`tags`); the recipe decides by the values (`corpus`), so that another threshold reads no text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """The values of a document that is kept; both ends included, no limit if not given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    least: float | None = Field(None, description="Documents below are dropped.")
    most: float | None = Field(None, description="Documents above are dropped.")

    def outside(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which documents are dropped: (documents,)."""
        found = np.zeros(values.shape, dtype=bool)
        if self.least is not None:
            found |= values < self.least
        if self.most is not None:
            found |= values > self.most
        return found


@dataclass(frozen=True)
class Filter:
    """A filter.

    Attributes:
        version: raised by hand when `measure` returns other values; bears the identity of tags.
        measure: function of a text that returns one value for each of `limits`, in their order.
        limits: name of a value -> its published limits.
        source: publication that defines it.
    """

    version: int
    measure: Callable[[str], Sequence[float]]
    limits: Mapping[str, Limits]
    source: str


def at_least(value: float) -> Limits:
    """Return limits that drop documents below a value."""
    return Limits(least=value)


def at_most(value: float) -> Limits:
    """Return limits that drop documents above a value."""
    return Limits(most=value)
