"""Numbers and lists as text for the page."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

MOST_NAMES = 8
Item = TypeVar("Item")


def duration(seconds: float) -> str:
    """Format a duration: `36 s`, `2 min 53 s`, `5 h 07 min`, `3 d 04 h`."""
    if seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def share(number: float) -> str:
    """Format a fraction in percent: 0.25 -> `25.0%`."""
    return f"{100 * number:.1f}%"


def mass(kilograms: float) -> str:
    """Format a mass in g or kg."""
    return f"{1000 * kilograms:.3g} g" if kilograms < 0.9995 else f"{kilograms:,.4g} kg"


def some(names: Iterable[str]) -> str:
    """Join names with commas; of many, only the first ones and the number of the others."""
    listed = list(names)
    more = len(listed) - MOST_NAMES
    return ", ".join(listed) if more <= 1 else f"{', '.join(listed[:MOST_NAMES])} and {more:,} more"


def thinned(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most `most` items (two or more), evenly spaced, including the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]
