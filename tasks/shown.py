"""Tables and texts as artifacts in Prefect's UI, under keys that keep their history."""

from prefect.artifacts import create_markdown_artifact, create_table_artifact

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
