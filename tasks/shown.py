"""Tables, texts and pictures as artifacts in Prefect's UI, under keys that keep their history."""

import base64

from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from olmo_core.report.tables import Row


def show_table(key: str, rows: list[Row], description: str) -> None:
    """Show rows under a key; every row has the columns of all."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    create_table_artifact(
        key=key, table=[{column: row.get(column) for column in columns} for row in rows], description=description
    )


def show_markdown(key: str, text: str) -> None:
    """Show a text under a key."""
    create_markdown_artifact(key=key, markdown=text)


def show_picture(key: str, png: bytes, description: str) -> None:
    """Show a picture under a key; it is part of the artifact, so no server has to keep it."""
    address = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    create_image_artifact(key=key, image_url=address, description=description)
