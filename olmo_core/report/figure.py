"""Drawing tools for the figures of the page: matplotlib draws SVG, the page's style sheet sets colours and fonts.

One drawing serves light, dark and print, because its colours are CSS variables: matplotlib draws with placeholder
colours, which `to_svg` replaces. `comparison`, `curves`, `scores` and `graph` draw the figures.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator

from olmo_core.recipe.quantity import show_count

# Placeholder colour -> CSS variable. None may be black: matplotlib omits black from the SVG.
INK, MUTED, RULE, SURFACE, ACCENT, WARN = (f"#00000{number}" for number in range(1, 7))
SERIES = tuple(f"#00001{number}" for number in range(7))
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    SURFACE: "--surface",
    ACCENT: "--accent",
    WARN: "--warn",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES)},
}
FONT_SIZE = 12.0

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "release",  # ids depend only on the drawing
    "text.parse_math": False,
    "font.size": FONT_SIZE,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.labelpad": 7,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,  # as in the tables
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Table:
    """A table of the page; the first column names the row, the first `texts` columns contain text."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1


@dataclass(frozen=True)
class Figure:
    """A figure of the page, with a description and a table for readers who cannot see it."""

    key: str
    title: str
    description: str
    svg: str
    table: Table


@dataclass(frozen=True)
class Look:
    """Colour and marker of one run or soup in every figure; no two looks differ by colour alone."""

    colour: str
    marker: str
    glyph: str

    @property
    def variable(self) -> str:
        """Its colour in the style sheet."""
        return VARIABLES[self.colour]


_MARKERS = (("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"), ("P", "✚"), ("X", "✖"))
SOUP_LOOK = Look(ACCENT, "*", "★")


def look(number: int) -> Look:
    """Return the look of the run with this number, counted from 0."""
    marker, glyph = _MARKERS[number % len(_MARKERS)]
    return Look(SERIES[(number + number // len(SERIES)) % len(SERIES)], marker, glyph)


@contextmanager
def canvas(width: float, height: float) -> Iterator[Canvas]:
    """Provide a figure to draw on, `width` x `height` CSS pixels at its natural size."""
    with matplotlib.rc_context(STYLE):
        yield Canvas(figsize=(width / 72, height / 72), dpi=72, layout="constrained")


def token_axis(axes: Axes, label: str = "tokens") -> None:
    """Let the horizontal axis count tokens from zero."""
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show_count(value) if value else "0"))
    axes.set_xlabel(label)


def to_svg(drawn: Canvas, key: str, title: str, description: str) -> str:
    """Return a drawing as an SVG element with a text alternative; `key` makes its ids unique in the page."""
    with matplotlib.rc_context(STYLE):
        out = io.StringIO()
        drawn.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    width, height = (value * 72 for value in drawn.get_size_inches())
    body = text[text.index("</defs>") + len("</defs>") : text.rindex("</svg>")]  # without its style sheet
    body = re.sub(r' id="', f' id="{key}-', body)
    body = re.sub(r'(href="|url\()#', rf"\1#{key}-", body).replace("xlink:href", "href")
    body = re.sub(r" ?font-family: [^;\"]+;?", "", body)
    body = re.sub("|".join(VARIABLES), lambda found: f"var({VARIABLES[found[0]]})", body)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" style="--natural: {width:g}px" '
        f'role="img" aria-labelledby="{key}-title {key}-desc"><title id="{key}-title">{escape(title)}</title>'
        f'<desc id="{key}-desc">{escape(description)}</desc>\n{body}</svg>'
    )
