"""A release that was made once and told to MLflow, for the tests of what can be seen there."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_database import new_database
from mlflow_view import View
from tiny_release import Release

from olmo_core.artifact.store import Store
from tasks.tracking.events import EventLog
from tasks.tracking.mlflow.experiment import connect
from tasks.tracking.mlflow.writer import MlflowWriter
from tasks.tracking.queue import EventQueue


class Told:
    """A release that was made once, its events, and an empty database for everyone who asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.release = Release()
        self.store = Store(folder / "store")
        with EventLog(folder / "outbox", "tiny", "r1") as outbox:
            self.records = self.release.make(self.store, outbox)
        queue = EventQueue(folder / "outbox", "")
        self.events = []
        while items := queue.read():
            self.events += [item.event for item in items]
            queue.done(items[-1])

    def database(self, name: str) -> MlflowClient:
        return connect(new_database(self.folder / f"{name}.db"))

    def lineage(self, client: MlflowClient) -> MlflowWriter:
        return MlflowWriter(client, (self.folder / "artifacts").as_uri())


@pytest.fixture(scope="session")
def told(tmp_path_factory):
    return Told(tmp_path_factory.mktemp("told"))


@pytest.fixture(scope="module")
def client(told, request):
    client = told.database(request.module.__name__)
    lineage = told.lineage(client)
    for event in told.events:
        lineage.tell(event)
    return client


@pytest.fixture(scope="module")
def view(client):
    return View(client, "tiny")
