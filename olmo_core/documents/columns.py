"""The columns of rows that no recipe describes yet, and guesses which of them is the text and which the id."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

TEXT_NAMES = (
    "text", "content", "body", "document", "markdown", "article", "raw_content", "contents", "passage", "story",
    "message",
)  # fmt: skip
ID_NAMES = ("id", "_id", "uuid", "guid", "doc_id", "document_id", "docid", "record_id", "warc_record_id", "url", "key")
MAX_COLUMNS = 200
MIN_CHARACTERS = 20  # mean length of a column that is taken for the text by nothing but its length
_MIN_SHARE = 0.5  # of the rows that have a column that is taken for the text
_DEPTH = 3
_EXAMPLE = 60
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "list", dict: "object"}


class Column(msgspec.Struct, frozen=True):
    """A column of the rows that were looked at; one within an object has a name with dots.

    Attributes:
        name: its name in a recipe.
        types: types of its values, the most frequent first; null is no value.
        share: share of the rows that have a value.
        example: the first value that is not empty, on one line and shortened.
        characters: mean length of its strings.
        distinct: whether no value repeats.
    """

    name: str
    types: tuple[str, ...]
    share: float
    example: str
    characters: float
    distinct: bool


def columns_seen(rows: Iterable[Mapping[str, Any]]) -> list[Column]:
    """Return the columns of rows, in the order in which they appear; at most `MAX_COLUMNS`."""
    tallies: dict[str, _Tally] = {}
    count = 0
    for row in rows:
        count += 1
        for name, value in _values(row):
            if name not in tallies and len(tallies) < MAX_COLUMNS:
                tallies[name] = _Tally()
            if value is not None and name in tallies:
                tallies[name].add(value)
    return [tally.column(name, count) for name, tally in tallies.items()]


def text_column(columns: Sequence[Column]) -> Column | None:
    """Return the column that is probably the text: by its name, else the one with the longest strings."""
    strings = [each for each in columns if each.types[:1] == ("string",)]
    frequent = [each for each in strings if each.share >= _MIN_SHARE]
    if named := _named(frequent, TEXT_NAMES):
        return named
    longest = max(frequent, key=lambda each: each.characters, default=None)
    return longest if longest is not None and longest.characters >= MIN_CHARACTERS else None


def id_column(columns: Sequence[Column]) -> Column | None:
    """Return the column that is probably the id: by its name, in every row, with no value twice."""
    whole = [each for each in columns if each.share == 1 and each.distinct and set(each.types) <= {"string", "integer"}]
    return _named(whole, ID_NAMES)


def _named(columns: Sequence[Column], names: Sequence[str]) -> Column | None:
    """Return the column with the first of these names, outside of objects if possible."""
    found = {each: each.name.casefold().rpartition(".")[2] for each in columns}
    known = [each for each in columns if found[each] in names]
    return min(known, key=lambda each: (names.index(found[each]), each.name.count(".")), default=None)


class _Tally:
    """Counts the values of a column."""

    def __init__(self) -> None:
        self.types: Counter[str] = Counter()
        self.example = ""
        self.characters = 0
        self.values: set[int] = set()

    def add(self, value: Any) -> None:
        self.types[_TYPES.get(type(value), type(value).__name__)] += 1
        self.example = self.example or shortened(value, _EXAMPLE)
        if isinstance(value, str):
            self.characters += len(value)
        if isinstance(value, str | int):
            self.values.add(hash(value))

    def column(self, name: str, rows: int) -> Column:
        types = tuple(kind for kind, _ in self.types.most_common())
        share = self.types.total() / rows
        mean = self.characters / max(1, self.types["string"])
        return Column(name, types, share, self.example, mean, len(self.values) == self.types.total() > 0)


def _values(row: Mapping[str, Any], within: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Yield name and value of every column of a row, and of the objects in it."""
    for name, value in row.items():
        yield within + str(name), value
        if isinstance(value, Mapping) and depth < _DEPTH:
            yield from _values(value, f"{within}{name}.", depth + 1)


def shortened(value: Any, most: int) -> str:
    """Return the beginning of a value on one line, of at most this many characters that can be printed."""
    text = value if isinstance(value, str) else repr(value)
    line = " ".join("".join(each if each.isprintable() else " " for each in text[: 4 * most]).split())
    return line if len(line) <= most and len(text) <= 4 * most else f"{line[: most - 3]}..."
