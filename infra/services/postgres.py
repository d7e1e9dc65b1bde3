"""A PostgreSQL server for Prefect and MLflow, from the system's package, with its data folder below home."""

import os
import pwd
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.schema import MLFLOW, PREFECT_POSTGRES, SchemaError
from infra.services.errors import ServiceError
from infra.services.supervisor import Program
from infra.services.tokens import USER, Tokens

DATABASES = ("prefect", "mlflow", "mlflow_accounts")
REMEDY = "install the system's package (Debian: apt-get install postgresql)"


def prepare(folder: Path, tokens: Tokens, port: int) -> Program:
    """Return the program; initialise its data folder if there is none yet.

    Raises:
        RuntimeError: PostgreSQL is not installed, or cannot initialise its folder; names the remedy.
    """
    binaries = _binaries()
    user = _user()
    data = folder / "data"
    if not (data / "PG_VERSION").exists():
        folder.mkdir(parents=True, exist_ok=True)
        password = folder / "password"
        password.write_text(tokens["postgres"])
        password.chmod(0o600)
        if user is not None:
            for path in (folder, password):
                shutil.chown(path, user)
        initdb = [str(binaries / "initdb"), "--pgdata", str(data), "--username", USER, "--pwfile", str(password)]
        settings = ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync"]
        done = subprocess.run(
            [*_as(user), *initdb, *settings], capture_output=True, text=True, cwd="/", stdin=subprocess.DEVNULL
        )
        password.unlink()
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed in {data}: {done.stderr.strip().splitlines()[-1]}")
    address = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), *address]
    return Program("postgres", command, user=user, signal="INT", grace=60)  # after TERM it waits for clients to leave


def create_databases(port: int, password: str) -> None:
    """Create the databases that do not exist yet.

    Raises:
        psycopg.OperationalError: PostgreSQL does not answer.
    """
    with _connection(port, password, "postgres") as connection:
        existing = {name for (name,) in connection.execute("select datname from pg_database")}
        for name in DATABASES:
            if name not in existing:
                connection.execute(f"create database {name}")


def check_schemas(port: int, tokens: Tokens) -> None:
    """Check that the installed packages can use their databases.

    Raises:
        ServiceError: a newer version wrote one, or it must be upgraded first.
    """
    mlflow = replace(MLFLOW, upgrade=f"PGPASSWORD=$(cat {tokens.path('postgres')}) {MLFLOW.upgrade}")
    for database, schema in (("prefect", PREFECT_POSTGRES), ("mlflow", mlflow)):
        with _connection(port, tokens["postgres"], database) as connection:
            if connection.execute("select to_regclass('alembic_version')").fetchone() == (None,):
                continue
            row = connection.execute("select version_num from alembic_version").fetchone()
        where, address = f"database {database} of PostgreSQL on port {port}", url("postgresql+psycopg", port, database)
        try:
            schema.judge(str(row and row[0]), where, address)
        except SchemaError as error:
            raise ServiceError("; ".join(error.args)) from error


def _connection(port: int, password: str, database: str) -> Any:
    import psycopg

    return psycopg.connect(host="127.0.0.1", port=port, user=USER, password=password, dbname=database, autocommit=True)


def url(driver: str, port: int, database: str) -> str:
    """Return the URL of a database for SQLAlchemy; the password is in PGPASSWORD."""
    return f"{driver}://{USER}@127.0.0.1:{port}/{database}"


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    which = shutil.which("initdb")
    if found:
        return found[-1].parent
    if which is not None:
        return Path(which).parent
    raise RuntimeError(f"PostgreSQL is not installed (no initdb); {REMEDY}, or remove services.postgres_port")


def _user() -> str | None:
    """Return the user to run PostgreSQL as, None for the current one; it refuses to run as root."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise RuntimeError(f"PostgreSQL cannot run as root, and there is no user `postgres`; {REMEDY}") from None


def _as(user: str | None) -> list[str]:
    return [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
