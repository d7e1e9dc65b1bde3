"""Whether the installed Prefect and MLflow can work with the databases they find below a home folder.

Schemas are known from the migrations that come with a package, read as text: nothing of it is imported or started.
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
    """A database cannot be used: what was seen, and the remedy."""


@dataclass(frozen=True)
class Schema:
    """What an installed package makes of a database.

    Attributes:
        package: that keeps the database.
        migrations: folder of its migrations below the package.
        upgrade: command that brings an older database up to date, with `URL`; '' where its server does so by itself.
    """

    package: str
    migrations: str
    upgrade: str = ""

    def judge(self, found: str, where: str, url: str, remedy: str = "") -> None:
        """Accept the schema `found` in the database `where`.

        Raises:
            SchemaError: a newer version wrote it, or it has to be upgraded first.
        """
        seen, installed = f"{where} has schema {found}", f"{self.package} {importlib.metadata.version(self.package)}"
        known, latest = schemas(self.package, self.migrations)
        if found not in known:
            raise SchemaError(
                f"{seen}, which {installed} does not know: a newer one wrote it",
                f"install that version of {self.package}{remedy}",
            )
        if found != latest and self.upgrade:
            raise SchemaError(f"{seen}, {installed} wants {latest}", self.upgrade.replace("URL", url))


MLFLOW = Schema("mlflow", "store/db_migrations/versions", "mlflow db upgrade URL")
PREFECT_SQLITE = Schema("prefect", "server/database/_migrations/versions/sqlite")
PREFECT_POSTGRES = Schema("prefect", "server/database/_migrations/versions/postgresql")


@dataclass(frozen=True)
class Database:
    """A SQLite database, and what becomes of what is in it where it has to be moved away."""

    path: Path
    schema: Schema
    lost: str

    def check(self) -> str:
        """Return which schema it has, '' where nothing was written yet.

        Raises:
            SchemaError: it was written by a newer version, has to be upgraded first, or is no database.
        """
        if not self.path.exists():
            return ""
        try:
            with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
                if not database.execute("select 1 from sqlite_master").fetchone():
                    return ""  # its server was ended, or the disk full, before it wrote anything
                (found,) = database.execute("select version_num from alembic_version").fetchone()
        except (sqlite3.DatabaseError, TypeError) as error:
            raise SchemaError(f"{self.path}: {error}", f"move it away; {self.lost}") from error
        self.schema.judge(found, str(self.path), f"sqlite:///{self.path}", f", or move the file away; {self.lost}")
        return f"schema {found} of {self.schema.package}"


def databases(home: Path) -> Iterator[Database]:
    """Yield the SQLite databases of a home folder, whether they are there yet or not."""
    told = f"it is written anew from the outbox in {home / 'outbox'}"
    yield Database(home / "prefect" / "prefect.db", PREFECT_SQLITE, "past runs are gone then")
    yield Database(home / "mlflow.db", MLFLOW, told)


def schemas(package: str, migrations: str) -> tuple[set[str], str]:
    """Return every schema an installed package knows, and the latest."""
    found = importlib.util.find_spec(package)
    assert found is not None and found.origin is not None, f"{package} is a dependency"
    texts = [path.read_text() for path in sorted((Path(found.origin).parent / migrations).glob("*.py"))]
    pairs = [pair for text in texts for pair in _ASSIGNED.findall(text)]
    known, followed = ({schema for name, schema in pairs if name == which} for which in ("revision", "down_revision"))
    (latest,) = known - followed
    return known, latest
