"""Databases of other versions of Prefect and MLflow, told before anything starts."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from infra.doctor import before_a_release
from infra.schema import Database, SchemaError, databases, schemas
from olmo_core.recipe.profile import Profile

NEWER = "ffffffffffff"
OLD = {"prefect": "9725c1cbee35", "mlflow": "451aebb31d03"}  # an early one of each


@pytest.fixture(params=["prefect", "mlflow"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    (found,) = (each for each in databases(tmp_path) if each.package == request.param)
    found.path.parent.mkdir(exist_ok=True)
    return found


def write(database: Database, schema: str) -> None:
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("insert into alembic_version values (?)", (schema,))


def test_none_yet_is_fine(database: Database) -> None:
    assert database.check() == ""
    assert not database.path.exists()


def test_one_in_which_nothing_was_written_yet_is_fine(database: Database) -> None:
    database.path.touch()
    assert database.check() == ""


def test_the_installed_one_is_fine(database: Database) -> None:
    _, latest = schemas(database.package, database.migrations)
    write(database, latest)
    assert database.check() == f"schema {latest} of {database.package}"


def test_a_newer_one_is_refused_with_the_remedy(database: Database) -> None:
    write(database, NEWER)
    with pytest.raises(SchemaError) as error:
        database.check()
    seen, remedy = error.value.args
    assert f"{database.path} has schema {NEWER}, which {database.package} " in seen and "a newer one wrote it" in seen
    assert remedy.startswith(f"install that version of {database.package}, or move the file away")


def test_an_older_one_is_migrated_by_prefect_and_by_a_command_for_mlflow(database: Database) -> None:
    write(database, OLD[database.package])
    if database.migrates:
        assert OLD["prefect"] in database.check()
    else:
        with pytest.raises(SchemaError) as error:
            database.check()
        assert error.value.args[1] == f"mlflow db upgrade sqlite:///{database.path}"


def test_what_is_no_database_is_told(database: Database) -> None:
    database.path.write_bytes(b"no database at all, but bytes")
    with pytest.raises(SchemaError) as error:
        database.check()
    assert str(database.path) in error.value.args[0] and "move it away" in error.value.args[1]


def test_a_release_looks_before_it_starts(database: Database, tmp_path: Path) -> None:
    write(database, NEWER)
    (found,) = before_a_release(Profile(name="test", home=tmp_path))
    assert not found.fine and NEWER in found.seen


def test_the_latest_schema_is_the_one_alembic_finds() -> None:
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    (mlflow,) = (each for each in databases(Path()) if each.package == "mlflow")
    folder = Path(utils.__file__).parents[1] / "db_migrations"
    assert schemas("mlflow", mlflow.migrations)[1] == ScriptDirectory(str(folder)).get_current_head()
