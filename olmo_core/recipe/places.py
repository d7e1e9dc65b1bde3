"""The fields of a recipe that are paths on this machine, and their conversion to absolute paths.

Workers run in another folder than the user, so relative paths become absolute when a recipe is read: those in a file
start from its folder, those on the command line from the current folder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from olmo_core.tokens.ranges import is_remote

# A star stands for every name of a mapping, or every item of a list.
PLACES = (
    "corpora.*.source.paths.*",
    "token_files.*.list_url",
    "token_files.*.root",
    "token_files.*.paths.*",
    "token_files.*.label_mask_paths.*",
    "stages.*.start.path",
)


def placed(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the values of a recipe with relative paths made absolute, starting from a folder."""
    for place in PLACES:
        values = _placed(values, place.split("."), folder)
    return values


def _placed(value: Any, parts: Sequence[str], folder: Path) -> Any:
    if not parts:
        known = isinstance(value, str) and value and not is_remote(value)
        return str((folder / Path(value).expanduser()).absolute()) if known else value
    if isinstance(value, dict):
        chosen = value.keys() if parts[0] == "*" else {parts[0]}
        return {key: _placed(each, parts[1:], folder) if key in chosen else each for key, each in value.items()}
    if isinstance(value, list) and parts[0] == "*":
        return [_placed(each, parts[1:], folder) for each in value]
    return value  # of the wrong type: the model refuses it
