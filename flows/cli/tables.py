"""Tables that fit the width of the console, and JSON instead of them."""

import json
from typing import Any

from rich.console import Console

GAP = "  "  # between columns

Rows = list[dict[str, Any]]


def print_table(console: Console, title: str, rows: Rows) -> None:
    """Print rows as a table no wider than the console; numbers have four significant digits.

    No cell is wrapped or cut: columns that do not fit follow in a second table, which repeats the first column.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = {column: [_cell(row.get(column)) for row in rows] for column in columns}
    widths = {column: max(len(each) for each in (column, *cells[column])) for column in columns}
    lines = [title]
    for page in _pages(widths, console.width):
        if len(lines) > 1:
            lines.append("")
        shown = [_column(column, cells[column], widths[column]) for column in page]
        lines += [GAP.join(row).rstrip() for row in zip(*shown, strict=True)]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _pages(widths: dict[str, int], most: int) -> list[list[str]]:
    """Return the columns of every page: the first column, and as many others as fit."""
    first, *others = widths or {"": 0}
    pages, used = [[first]], widths.get(first, 0)
    for column in others:
        if len(pages[-1]) > 1 and used + len(GAP) + widths[column] > most:
            pages.append([first])
            used = widths[first]
        pages[-1].append(column)
        used += len(GAP) + widths[column]
    return pages if widths else []


def _column(head: str, cells: list[str], width: int) -> list[str]:
    """Return head, rule and cells of a column at its width, right-aligned if all cells are numbers."""
    numbers = all(cell[:1].isdigit() or cell[:1] in {"", "-", "+"} for cell in cells)
    pad = str.rjust if numbers and any(cells) else str.ljust
    return [pad(head, width), "─" * width, *(pad(cell, width) for cell in cells)]


def transposed(rows: Rows, head: str) -> Rows:
    """Return the transposed rows; `head` is the column whose values become the columns."""
    columns = list(dict.fromkeys(column for row in rows for column in row if column != head))
    return [{head: column} | {str(row[head]): row.get(column) for row in rows} for column in columns]


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    print(json.dumps(value, indent=1, sort_keys=True))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
