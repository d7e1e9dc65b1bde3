"""Quantities as people write them: counts such as `2M`, `1.5T`, `2e6` and `1_048_576`; times and sizes with units."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def parse_count(value: object) -> object:
    """Return `value` as an int if it is a whole number, else unchanged for pydantic to refuse.

    Raises:
        ValueError: the text is not a count; names the accepted forms.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?(?:[eE]\+?[0-9]{1,2})?)\s*([KMBT]?)\s*", value)
    number = Decimal(match[1].replace("_", "")) * UNITS[match[2]] if match else Decimal("0.5")
    if number != int(number):
        raise ValueError(f"{value!r} is not a whole number; write it like 250K, 2M, 1.5B, 4T or 2e6")
    return int(number)


Count = Annotated[int, BeforeValidator(parse_count)]


def show_count(value: float) -> str:
    """Return a count for people, with at most three significant digits: `2.05M`."""
    return _scaled(value, ("", "K", "M", "B", "T"))


def show_flops(value: float) -> str:
    """Return a number of floating point operations: `1.2e23`."""
    return f"{value:.1e}".replace("e+", "e") if value else "0"


def show_bytes(value: float) -> str:
    """Return a size in decimal units: `13.5 GB`."""
    return _scaled(value, (" B", " kB", " MB", " GB", " TB", " PB"))


def show_energy(kwh: float) -> str:
    """Return energy in a suitable unit; anything below a milliwatt hour is shown as `<0.001 Wh`."""
    if 0 < kwh < 0.9995e-6:
        return "<0.001 Wh"
    return _scaled(1000 * kwh, (" Wh", " kWh", " MWh", " GWh"))


def show_duration(seconds: float) -> str:
    """Return a predicted time with two digits, in a unit people use: `40 s`, `6 min`, `3.2 h`, `18 days`."""
    if seconds >= 99.5 * _DURATIONS["years"]:
        return "over 100 years"
    unit = next(name for name, least in _LEAST.items() if seconds >= least)
    count = seconds / _DURATIONS[unit]
    shown = f"{count:.1f}".removesuffix(".0") if count < 9.95 and unit not in {"s", "min"} else f"{count:.0f}"
    return f"{shown} {unit}"


_DURATIONS = {"s": 1, "min": 60, "h": 3600, "days": 86400, "years": 365.25 * 86400}
_LEAST = {"years": 730 * 86400, "days": 36 * 3600, "h": 89.5 * 60, "min": 59.5, "s": 0}  # seconds shown in that unit


def _scaled(value: float, units: tuple[str, ...]) -> str:
    """Return a number with three significant digits, in the largest unit in which it is at least one."""
    place = 0
    while abs(value) >= 999.5 and place < len(units) - 1:
        value, place = value / 1000, place + 1
    return f"{value:.3g}{units[place]}"
