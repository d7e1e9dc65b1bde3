"""Prefect's application with our SQLite configuration, imported without garbage collection for speed."""

from typing import TYPE_CHECKING

from olmo_core.artifact.imports import swift_imports

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_app() -> "FastAPI":
    """Return the application, for uvicorn."""
    with swift_imports():
        from prefect.server.api import server

        from infra.prefect_database import use_waiting_sqlite

        use_waiting_sqlite()
        return server.create_app()
