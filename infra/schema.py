"""Check that the installed Prefect and MLflow can use the databases below a home folder.

The schemas are read as text from the migrations in a package, without importing or starting it.
"""

import importlib.metadata
import importlib.util
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

_ASSIGNED = re.compile(r"""^(revision|down_revision)\b[^=\n]*= *["']([0-9a-z_]+)["']""", re.M)


class SchemaError(Exception):
    """A database cannot be used; the arguments are the finding and the remedy."""


@dataclass(frozen=True)
class Schema:
    """The database schemas that an installed package knows.

    Attributes:
        package: name of the package.
        migrations: folder of its migrations below the package.
        upgrade: command that upgrades an older database at `URL`; '' if its server does so by itself.
    """

    package: str
    migrations: str
    upgrade: str = ""

    def judge(self, found: str, where: str, url: str, remedy: str = "") -> None:
        """Check the schema `found` in the database `where`.

        Raises:
            SchemaError: a newer version wrote it, or it must be upgraded first.
        """
        seen, installed = f"{where} has schema {found}", f"{self.package} {importlib.metadata.version(self.package)}"
        known, latest = schemas(self.package, self.migrations)
        if found not in known:
            raise SchemaError(
                f"{seen}, which {installed} does not know: a newer version wrote it",
                f"install that version of {self.package}{remedy}",
            )
        if found != latest and self.upgrade:
            raise SchemaError(f"{seen}, {installed} needs {latest}", self.upgrade.replace("URL", url))


MLFLOW = Schema("mlflow", "store/db_migrations/versions", "mlflow db upgrade URL")
PREFECT_SQLITE = Schema("prefect", "server/database/_migrations/versions/sqlite")
PREFECT_POSTGRES = Schema("prefect", "server/database/_migrations/versions/postgresql")


@dataclass(frozen=True)
class Database:
    """A SQLite database, and what is lost if it has to be moved away."""

    path: Path
    schema: Schema
    lost: str

    def check(self) -> str:
        """Return a description of its schema, '' if nothing was written yet.

        Raises:
            SchemaError: a newer version wrote it, it must be upgraded first, or it is not a database.
        """
        if not self.path.exists():
            return ""
        try:
            with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
                if not database.execute("select 1 from sqlite_master").fetchone():
                    return ""  # the server ended, or the disk was full, before it wrote anything
                (found,) = database.execute("select version_num from alembic_version").fetchone()
        except (sqlite3.DatabaseError, TypeError) as error:
            raise SchemaError(f"{self.path}: {error}", f"move it away; {self.lost}") from error
        self.schema.judge(found, str(self.path), f"sqlite:///{self.path}", f", or move the file away; {self.lost}")
        return f"schema {found} of {self.schema.package}"


def databases(home: Path) -> Iterator[Database]:
    """Yield the SQLite databases of a home folder, whether or not they exist yet."""
    rebuilt = f"it is rebuilt from the outbox in {home / 'outbox'}"
    yield Database(home / "prefect" / "prefect.db", PREFECT_SQLITE, "past runs are then lost")
    yield Database(home / "mlflow.db", MLFLOW, rebuilt)


def schemas(package: str, migrations: str) -> tuple[set[str], str]:
    """Return all schemas that an installed package knows, and the latest of them."""
    found = importlib.util.find_spec(package)
    assert found is not None and found.origin is not None, f"{package} is a dependency"
    texts = [path.read_text() for path in sorted((Path(found.origin).parent / migrations).glob("*.py"))]
    pairs = [pair for text in texts for pair in _ASSIGNED.findall(text)]
    known, followed = ({schema for name, schema in pairs if name == which} for which in ("revision", "down_revision"))
    (latest,) = known - followed
    return known, latest
