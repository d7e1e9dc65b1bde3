"""Prefect's SQLite database, with transactions that wait for their turn to write.

Prefect begins transactions on SQLite as readers. One that reads, then writes, is refused at once where another wrote in
between; the server answers 503 and the client sleeps for two seconds and more. A transaction that begins as a writer
waits for milliseconds instead: a release with nothing to make ran into it some twenty times.
"""

from contextlib import _AsyncGeneratorContextManager

from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import MODELS_DEPENDENCIES
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


class WaitingSqlite(AioSqliteConfiguration):
    """Begins every transaction as a writer."""

    def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> _AsyncGeneratorContextManager[AsyncSessionTransaction, None]:
        """Begin a transaction that holds the right to write."""
        return super().begin_transaction(session, with_for_update=True)


def use_waiting_sqlite() -> None:
    """Have the server of this process wait, where its database is of SQLite."""
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if url.startswith("sqlite"):
        MODELS_DEPENDENCIES["database_config"] = WaitingSqlite(connection_url=url)
