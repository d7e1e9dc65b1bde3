"""A release that is made once and written to MLflow, for the tests of MLflow's contents."""

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


class TrackedRelease:
    """A release that is made once, its events, and new databases on request."""

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

    def writer(self, client: MlflowClient) -> MlflowWriter:
        return MlflowWriter(client, (self.folder / "artifacts").as_uri())


@pytest.fixture(scope="session")
def tracked(tmp_path_factory):
    return TrackedRelease(tmp_path_factory.mktemp("tracked"))


@pytest.fixture(scope="module")
def client(tracked, request):
    client = tracked.database(request.module.__name__)
    writer = tracked.writer(client)
    for event in tracked.events:
        writer.write(event)
    return client


@pytest.fixture(scope="module")
def view(client):
    return View(client, "tiny")
