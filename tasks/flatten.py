"""Nested plain values as the flat keys and short texts a tracking server takes."""

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

KEY_LENGTH = 250  # MLflow: MAX_ENTITY_KEY_LENGTH.
PARAM_LENGTH = 6000  # MLflow: MAX_PARAM_VAL_LENGTH.
TAG_LENGTH = 8000  # MLflow: MAX_TAG_VAL_LENGTH.

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_\-. :/]")


def params(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Every leaf under its dotted path; lists as JSON; what is too long is cut and says so."""
    found: dict[str, str] = {}
    for path, value in _leaves(values):
        text = value if isinstance(value, str) else json.dumps(value)
        found[unused(key(prefix + ".".join(path)), found)] = cut(text, PARAM_LENGTH)
    return found


def numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Every leaf that is a number, under its path with slashes; truth values count as 0 and 1."""
    found: dict[str, float] = {}
    for path, value in _leaves(values):
        if isinstance(value, int | float):
            found[unused(key(prefix + "/".join(path)), found)] = float(value)
    return found


def key(text: str) -> str:
    """`text` as a key MLflow takes: other characters become `_`, what is too long loses its beginning.

    MLflow takes slashes only where the key could be a relative path.
    """
    plain = _NOT_IN_KEYS.sub("_", text)[-KEY_LENGTH:]
    path = posixpath.normpath(plain)
    is_path = path == plain and path != "." and not path.startswith(("..", "/"))
    return plain if is_path else plain.replace("/", "_").strip(".") or "_"


def unused(name: str, taken: Mapping[str, Any]) -> str:
    """`name`, or with the first number behind it that makes it another key than those taken."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name[: KEY_LENGTH - 8]}_{number}", number + 1
    return free


def cut(text: str, length: int) -> str:
    """`text` in at most `length` characters; says how long it was when it is cut."""
    note = f"... ({len(text)} characters)"
    return text if len(text) <= length else text[: length - len(note)] + note


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for name in sorted(value):
            yield from _leaves(value[name], (*path, name))
    else:
        yield path, value
