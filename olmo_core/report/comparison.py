"""The soup compared with its ingredients: paired differences and their intervals, as the decision recorded them."""

from typing import Any

from olmo_core.report.figure import ACCENT, INK, MUTED, Figure, Table, canvas, to_svg

WIDTH = 400
ROW, ROOM = 52, 60  # heights in pixels: of one comparison, and of the space around all of them


def comparison_figure(decision: dict[str, Any]) -> Figure | None:
    """Return the figure of a decision's comparisons, None if it has none."""
    comparisons = decision["comparisons"]
    if not comparisons:
        return None
    names = {key: _against(key, row) for key, row in comparisons.items()}
    with canvas(WIDTH, ROOM + ROW * len(comparisons)) as drawn:
        axes = drawn.add_subplot()
        axes.axvline(0, color=MUTED, linewidth=1.2)
        for place, row in enumerate(comparisons.values()):
            value, low, high = row["difference"], row["low"], row["high"]
            axes.errorbar(
                value, -place, xerr=[[value - low], [high - value]], fmt="*", color=ACCENT, markersize=11, capsize=4
            )
        for place, (key, row) in enumerate(comparisons.items()):
            label = f"{names[key]}: {row['difference']:+.4f}"
            axes.annotate(label, (0, -place), (2, 12), ("axes fraction", "data"), "offset points", color=INK)
        axes.set_yticks([])
        axes.set_ylim(-len(names) + 0.5, 0.7)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.15)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("bits per byte; below zero the soup is better")
        title = f"Soup minus ingredients, with {_percent(next(iter(comparisons.values())))} intervals"
        description = " ".join(f"Soup {names[key]}: {_words(row)}." for key, row in comparisons.items())
        svg = to_svg(drawn, "comparison", title, description)
    rows = [
        (f"soup {names[key]}", *(f"{row[name]:+.4f}" for name in ("difference", "low", "high")), _percent(row))
        for key, row in comparisons.items()
    ]
    table = Table("Paired differences in bits per byte", ("comparison", "difference", "low", "high", "interval"), rows)
    return Figure("comparison", title, description, svg, table)


def candidates_table(decision: dict[str, Any]) -> Table:
    """Return the scores of the candidates by source, with the one that became main first."""
    names = sorted(decision["candidates"], key=lambda name: (name != decision["main"], name))
    rows = []
    for name in names:
        found = decision["candidates"][name]
        values = [found["bits_per_byte"], *(found["sources"][source] for source in decision["sources"])]
        shown = f"{name} (main)" if name == decision["main"] else name
        rows.append((shown, *(f"{value:.4f}" for value in values)))
    averaged = "mean of sources" if decision["average"] == "macro" else "all bytes alike"
    caption = "Candidates for main: bits per byte of held-out text, lower is better"
    return Table(caption, ("candidate", averaged, *decision["sources"]), rows)


def _against(key: str, row: dict[str, Any]) -> str:
    """Describe the other side of a comparison, such as `against the mean of the ingredients`."""
    what = row.get("ingredient", "the mean of the ingredients")
    return f"{key.removeprefix('soup_').partition('_')[0]} {what}"


def _percent(row: dict[str, Any]) -> str:
    return f"{100 * row['confidence']:g}%"


def _words(row: dict[str, Any]) -> str:
    return f"{row['difference']:+.4f}, {_percent(row)} interval {row['low']:+.4f} to {row['high']:+.4f}"
