"""Counts as people write them: `2M`, `1.5T`, `2e6`, `1_048_576` all read as a whole number of tokens."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def parse_count(value: object) -> object:
    """Return `value` as an int where it is a whole count, else unchanged for pydantic to refuse.

    Raises:
        ValueError: for text that is no count, naming the forms that are.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?(?:[eE]\+?[0-9]{1,2})?)\s*([KMBT]?)\s*", value)
    number = Decimal(match[1].replace("_", "")) * UNITS[match[2]] if match else Decimal("0.5")
    if number != int(number):
        raise ValueError(f"{value!r} is no whole count; write it like 250K, 2M, 1.5B, 4T or 2e6")
    return int(number)


Count = Annotated[int, BeforeValidator(parse_count)]


def show_count(value: float) -> str:
    """Return a count for people, at most three significant digits: `2.05M`."""
    for unit in ("T", "B", "M", "K"):
        if abs(value) >= UNITS[unit]:
            return f"{value / UNITS[unit]:.3g}{unit}"
    return f"{value:.3g}"
