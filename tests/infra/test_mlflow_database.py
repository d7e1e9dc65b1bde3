"""A database whose migration was interrupted never has its final name."""

from pathlib import Path
from typing import Any

import mlflow
import pytest

from infra.mlflow_database import make_database


class Migration:
    """Replaces MLflow's client: writes the database in two halves, as its first call does."""

    cut = False

    def __init__(self, tracking_uri: str, **_: Any) -> None:
        self.path = Path(tracking_uri.removeprefix("sqlite:///"))

    def search_experiments(self, **_: Any) -> None:
        assert not self.path.exists(), "leftovers of an earlier migration are removed"
        self.path.write_text("half")
        if Migration.cut:
            raise KeyboardInterrupt
        self.path.write_text("whole")


def test_interrupted_migration_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "MlflowClient", Migration)
    database, uri = tmp_path / "home" / "mlflow.db", f"sqlite:///{tmp_path}/home/mlflow.db"
    monkeypatch.setattr(Migration, "cut", True)
    with pytest.raises(KeyboardInterrupt):
        make_database(uri)
    assert not database.exists()
    monkeypatch.setattr(Migration, "cut", False)
    make_database(uri)
    assert (database.read_text(), [each.name for each in database.parent.iterdir()]) == ("whole", ["mlflow.db"])
    make_database(uri)
    assert database.read_text() == "whole"
