"""Prefect's SQLite database with transactions that wait for the write lock.

Prefect begins transactions on SQLite as readers. SQLite refuses one that reads and then writes if another wrote in
between; the server then answers 503 and the client sleeps for two seconds or more. A transaction that begins as a
writer waits for milliseconds instead. A release with nothing to make met such a 503 about twenty times.
"""

from contextlib import _AsyncGeneratorContextManager

from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import MODELS_DEPENDENCIES
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


class WaitingSqlite(AioSqliteConfiguration):
    """A SQLite configuration that begins every transaction as a writer."""

    def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> _AsyncGeneratorContextManager[AsyncSessionTransaction, None]:
        """Begin a transaction that holds the write lock."""
        return super().begin_transaction(session, with_for_update=True)


def use_waiting_sqlite() -> None:
    """Make the server of this process use `WaitingSqlite` if its database is SQLite."""
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if url.startswith("sqlite"):
        MODELS_DEPENDENCIES["database_config"] = WaitingSqlite(connection_url=url)
