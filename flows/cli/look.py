"""`olmo data look`: what text there is at an address, before there is a recipe, and the recipe section for it."""

from pathlib import Path
from typing import Any

import msgspec
import yaml
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from flows.cli.tables import GAP, print_table
from olmo_core.artifact.files import LfsPointerError
from olmo_core.documents.columns import shortened
from olmo_core.documents.listing import ListingError
from olmo_core.documents.overview import Corpus, Overview, OverviewError, overview
from olmo_core.documents.tally import Documents
from olmo_core.recipe.draft import check_free, names, section, write_draft
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.quantity import show_bytes, show_count

MOST_COLUMNS, MOST_FORMATS, MOST_LANGUAGES = 20, 12, 5
_MIN_EXAMPLE = 12


def look(path: str, text: str | None, out: Path | None, console: Console) -> tuple[Overview, dict[str, Corpus]]:
    """Return what there is at an address, and its corpora by name; write a recipe for them if a file is given.

    Args:
        path: address, path or pattern.
        text: column with the text; guessed if not given.
        out: recipe to write.
        console: shows what is being done.

    Raises:
        ConfigError: nothing that a corpus can be made of is there, or the recipe cannot be written.
    """
    if out is not None:
        check_free(out)
    place = path if "://" in path else str(Path(path).expanduser().absolute())
    try:
        with console.status("listing files") as status:
            found = overview(place, text, report=status.update)
    except (ListingError, OverviewError, LfsPointerError) as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read: {type(error).__name__}: {error}") from error
    corpora = names(found)
    if out is not None:
        write_draft(out, corpora)
    return found, corpora


def as_json(found: Overview, corpora: dict[str, Corpus]) -> dict[str, Any]:
    """Return what `look` found as JSON values; `recipe` is the section of a recipe."""
    return {
        "path": found.path,
        "files": found.files,
        "bytes": found.bytes,
        "formats": msgspec.to_builtins(found.formats),
        "corpora": {name: msgspec.to_builtins(each) for name, each in corpora.items()},
        "recipe": yaml.safe_load(section(corpora)),
    }


def print_look(console: Console, found: Overview, corpora: dict[str, Corpus], out: Path | None) -> None:
    """Print what `look` found for people; no line but that of a long name is wider than the console."""
    title = f"{found.files:,} {'file' if found.files == 1 else 'files'}, {show_bytes(found.bytes)}"
    rows = [
        {
            "suffix": shortened(each.format.suffix, 20) or "none",
            "files": each.files,
            "size": show_bytes(each.bytes),
            "compression": each.format.compression or "none",
            "reader": each.format.reader or "none: left out",
        }
        for each in found.formats[:MOST_FORMATS]
    ]
    print_table(console, title, rows)
    if (more := len(found.formats) - MOST_FORMATS) > 0:
        _say(console, f"and {more} more formats, which --json lists")
    for name, corpus in corpora.items():
        if len(corpora) > 1:
            _say(console, "", f"corpus {name}, by reader {corpus.reader}")
        _print_corpus(console, found.path, corpus)
    _say(console, "", "section of a recipe:", "")
    console.print(section(corpora), highlight=False, markup=False, soft_wrap=True)
    recipe = out or "mine.yaml"
    written = f"wrote {out}; to go on:" if out else "to go on, write a whole recipe with --out mine.yaml, then:"
    _say(console, written, f"  olmo plan {recipe}", f"  olmo run {recipe}")


def _print_corpus(console: Console, path: str, corpus: Corpus) -> None:
    found = corpus.sounding
    if found.columns:
        console.print()
        _print_columns(console, corpus)
    if found.text:
        _say(console, f"text column: {found.text}{', a guess' if found.text_guessed else ''}")
        _say(console, f"id column: {found.id}, a guess" if found.id else "id column: no column is unique in every row")
    _say(console, "", *_documents(corpus))
    for bad in found.bad:
        _say(console, f"  {bad.reason}: {bad.rows:,} ({_percent(bad.share)})")
        _say(console, *(f"    {each.removeprefix(path).lstrip('/')}" for each in bad.places))
    if found.languages:
        codes = list(found.languages.items())
        shown = [f"{code} {_percent(share)}" for code, share in codes[:MOST_LANGUAGES]]
        rest = sum(share for _, share in codes[MOST_LANGUAGES:])
        _say(console, f"languages: {', '.join([*shown, *([f'others {_percent(rest)}'] if rest else [])])}")
    _say(console, "", "samples:", *(f"  {each.text}" for each in found.samples))


def _print_columns(console: Console, corpus: Corpus) -> None:
    columns = corpus.sounding.columns
    rows = [
        {"column": shortened(each.name, 30), "type": " or ".join(each.types) or "null", "rows": _percent(each.share)}
        for each in columns[:MOST_COLUMNS]
    ]
    used = sum(max(len(row[head]) for row in [*rows, {head: head}]) + len(GAP) for head in rows[0])
    width = max(_MIN_EXAMPLE, console.width - used)
    for row, each in zip(rows, columns, strict=False):
        row["example"] = _cut(each.example, width)
    print_table(console, f"columns of {corpus.reader} rows", [dict(row) for row in rows])
    if (more := len(columns) - MOST_COLUMNS) > 0:
        _say(console, f"and {more} more columns, which --json lists")


def _documents(corpus: Corpus) -> list[str]:
    """Return lines about the documents of a corpus."""
    found: Documents = corpus.sounding.documents
    rows = found.looked_at + sum(each.rows for each in corpus.sounding.bad)
    read = f"{show_bytes(found.looked_at_bytes)} of {show_bytes(corpus.bytes)}"
    count = (
        f"documents: {found.count:,}, {show_bytes(found.bytes)} of text; all files were read"
        if found.exact
        else f"documents: about {show_count(found.count)}, {show_bytes(found.bytes)} of text; an estimate from {read}"
    )
    return [
        count,
        f"bytes of text per document: mean {found.mean:,.0f}, median {found.median:,.0f}, 95% at most {found.p95:,.0f}",
        f"exact duplicates: {found.duplicates:,} of {found.looked_at:,} looked at "
        f"({_percent(found.duplicates / found.looked_at)})",
        f"bad rows: {rows - found.looked_at:,} of {rows:,} looked at ({_percent((rows - found.looked_at) / rows)})",
    ]


def _say(console: Console, *lines: str) -> None:
    """Print lines, cut to the width of the console; control characters are left out."""
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        text = indent + shortened(line, max(len(line), 1))
        console.print(_cut(text, console.width), highlight=False, markup=False, soft_wrap=True)


def _cut(text: str, width: int) -> str:
    """Return a text in at most this many cells of a terminal; some characters take two."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 3).rstrip() + "..."


def _percent(share: float) -> str:
    """Return a share with two significant digits: `0.021%`; 100% is all."""
    if 0.995 <= share < 1:
        return "over 99%"
    return f"{100 * share:.2g}%" if share < 0.995 else "100%"
