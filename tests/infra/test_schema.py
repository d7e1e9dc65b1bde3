"""Databases of other versions of Prefect and MLflow are found before anything starts."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from infra.doctor.examination import before_a_release
from infra.profile import Profile
from infra.schema import MLFLOW, PREFECT_POSTGRES, PREFECT_SQLITE, Database, SchemaError, databases, schemas
from infra.services.errors import ServiceError
from infra.services.group import bring_up

NEWER = "ffffffffffff"
OLD = {"prefect": "9725c1cbee35", "mlflow": "451aebb31d03"}  # an early one of each


@pytest.fixture(params=["prefect", "mlflow"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.delenv("OLMO_HOME", raising=False)
    (found,) = (each for each in databases(tmp_path) if each.schema.package == request.param)
    found.path.parent.mkdir(exist_ok=True)
    return found


def write(database: Database, schema: str) -> None:
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("insert into alembic_version values (?)", (schema,))


def test_missing_database_is_accepted(database: Database) -> None:
    assert database.check() == ""
    assert not database.path.exists()


def test_empty_database_is_accepted(database: Database) -> None:
    database.path.touch()
    assert database.check() == ""


def test_installed_schema_is_accepted(database: Database) -> None:
    _, latest = schemas(database.schema.package, database.schema.migrations)
    write(database, latest)
    assert database.check() == f"schema {latest} of {database.schema.package}"


def test_newer_schema_is_refused_with_the_remedy(database: Database) -> None:
    write(database, NEWER)
    with pytest.raises(SchemaError) as error:
        database.check()
    seen, remedy = error.value.args
    assert (
        f"{database.path} has schema {NEWER}, which {database.schema.package} " in seen
        and "a newer version wrote it" in seen
    )
    assert remedy.startswith(f"install that version of {database.schema.package}, or move the file away")


def test_older_schema_needs_a_command_for_mlflow_only(database: Database) -> None:
    write(database, OLD[database.schema.package])
    if not database.schema.upgrade:
        assert OLD["prefect"] in database.check()
    else:
        with pytest.raises(SchemaError) as error:
            database.check()
        assert error.value.args[1] == f"mlflow db upgrade sqlite:///{database.path}"


def test_file_that_is_no_database_is_refused(database: Database) -> None:
    database.path.write_bytes(b"no database at all, but bytes")
    with pytest.raises(SchemaError) as error:
        database.check()
    assert str(database.path) in error.value.args[0] and "move it away" in error.value.args[1]


def test_release_checks_schema_before_it_starts(database: Database, tmp_path: Path) -> None:
    write(database, NEWER)
    (found,) = before_a_release(Profile(name="test", home=tmp_path))
    assert not found.fine and NEWER in found.seen


def test_servers_do_not_start_with_newer_schema(database: Database, tmp_path: Path) -> None:
    write(database, NEWER)
    with pytest.raises(ServiceError, match=f"has schema {NEWER}, .*; install that version of"):
        bring_up(Profile(name="test", home=tmp_path), "laptop", ["micro"], lambda _name, _seconds: None)
    assert not (tmp_path / "services" / "supervisord.conf").exists()


def test_latest_schema_equals_that_of_alembic() -> None:
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    folder = Path(utils.__file__).parents[1] / "db_migrations"
    assert schemas("mlflow", MLFLOW.migrations)[1] == ScriptDirectory(str(folder)).get_current_head()


def test_prefect_schemas_differ_by_database() -> None:
    sqlite, postgres = (schemas(each.package, each.migrations) for each in (PREFECT_SQLITE, PREFECT_POSTGRES))
    assert sqlite[1] not in postgres[0] and postgres[1] not in sqlite[0]
