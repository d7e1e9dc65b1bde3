"""Tables, texts and pictures as artifacts in Prefect's UI, under keys that keep their history.

Their descriptions state units and which direction is better, because the UI shows no other text with a table.
"""

import base64
import re
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from olmo_core.report.tables import Row


def show_table(key: str, rows: list[Row], description: str) -> None:
    """Show rows under a key; every row has all columns, and numbers are rounded to four decimal places."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = [{column.replace("_", " "): _cell(row.get(column)) for column in columns} for row in rows]
    create_table_artifact(key=_key(key), table=table, description=description)


def show_markdown(key: str, text: str, description: str) -> None:
    """Show a text under a key."""
    create_markdown_artifact(key=_key(key), markdown=text, description=description)


def show_picture(key: str, png: bytes, description: str) -> None:
    """Show a picture under a key; it is embedded in the artifact, so no server has to store it.

    It is shown as a text with a picture, because Prefect prints the address of an artifact of the kind `image`.
    """
    show_markdown(key, f"![{description}](data:image/png;base64,{base64.b64encode(png).decode()})", description)


def _key(key: str) -> str:
    """Return a key that Prefect accepts: lower-case letters, digits and dashes; a recipe's name may also have `_`."""
    return re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")


def _cell(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
