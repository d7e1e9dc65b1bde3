"""PostgreSQL of a home folder: its data folder is made once, its databases if they are missing; no server runs here."""

import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.schema import MLFLOW, PREFECT_POSTGRES, schemas
from infra.services import postgres
from infra.services.errors import ServiceError
from infra.services.postgres import check_schemas, create_databases, prepare
from infra.services.tokens import Tokens, tokens


@pytest.fixture
def secret(tmp_path: Path) -> Tokens:
    return tokens(tmp_path / "tokens")


class Initdb:
    """The program `initdb`: notes how it is called and makes the data folder."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.passwords: list[tuple[str, int]] = []
        self.code, self.stderr = 0, ""

    def __call__(self, command: Sequence[str], **_: Any) -> SimpleNamespace:
        self.commands.append(list(command))
        password = Path(self.after("--pwfile"))
        self.passwords.append((password.read_text(), stat.S_IMODE(password.stat().st_mode)))
        if self.code == 0:
            data = Path(self.after("--pgdata"))
            data.mkdir()
            (data / "PG_VERSION").write_text("17\n")
        return SimpleNamespace(returncode=self.code, stderr=self.stderr)

    def after(self, option: str) -> str:
        return self.commands[-1][self.commands[-1].index(option) + 1]


@pytest.fixture
def initdb(monkeypatch: pytest.MonkeyPatch) -> Initdb:
    found = Initdb()
    monkeypatch.setattr(subprocess, "run", found)
    monkeypatch.setattr(postgres, "_binaries", lambda: Path("/usr/lib/postgresql/17/bin"))
    monkeypatch.setattr(postgres, "_user", lambda: None)
    return found


def test_data_folder_is_made_once_with_a_private_password(initdb: Initdb, tmp_path: Path, secret: Tokens) -> None:
    program = prepare(tmp_path / "postgres", secret, 5401)
    assert initdb.commands[0][0] == "/usr/lib/postgresql/17/bin/initdb"
    assert initdb.after("--auth") == "scram-sha-256"
    assert initdb.passwords == [(secret["postgres"], 0o600)]
    assert {path.name for path in (tmp_path / "postgres").iterdir()} == {"data"}, "the password file is removed"
    assert prepare(tmp_path / "postgres", secret, 5401) == program
    assert len(initdb.commands) == 1


def test_server_listens_on_the_loopback_interface_only_and_ends_by_sigint(
    initdb: Initdb, tmp_path: Path, secret: Tokens
) -> None:
    program = prepare(tmp_path / "postgres", secret, 5401)
    assert program.command[1:5] == ["-D", str(tmp_path / "postgres" / "data"), "-p", "5401"]
    assert {"listen_addresses=127.0.0.1", "unix_socket_directories="} <= set(program.command)
    assert (program.signal, program.user, program.once) == ("INT", None, False)


def test_failure_names_the_folder_and_the_last_line_and_leaves_no_password(
    initdb: Initdb, tmp_path: Path, secret: Tokens
) -> None:
    initdb.code, initdb.stderr = 1, "creating\ninitdb: error: could not create directory\n"
    with pytest.raises(RuntimeError, match=rf"{tmp_path / 'postgres' / 'data'}: initdb: error: could not create"):
        prepare(tmp_path / "postgres", secret, 5401)
    assert list((tmp_path / "postgres").iterdir()) == []


def test_root_gives_folder_and_program_to_the_systems_user(
    initdb: Initdb, tmp_path: Path, secret: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, str]] = []
    monkeypatch.setattr(postgres, "_user", lambda: "postgres")
    monkeypatch.setattr(postgres.shutil, "chown", lambda path, user: given.append((path.name, user)))
    assert prepare(tmp_path / "postgres", secret, 5401).user == "postgres"
    assert given == [("postgres", "postgres"), ("password", "postgres")]
    assert initdb.commands[0][:4] == ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]


def installed(root: Path, *versions: str) -> None:
    for version in versions:
        (root / version / "bin").mkdir(parents=True)
        (root / version / "bin" / "initdb").touch()


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the system's packages."""
    root = tmp_path / "system"
    monkeypatch.setattr(postgres, "Path", lambda path: root if path == "/usr/lib/postgresql" else Path(path))
    monkeypatch.setattr(postgres.shutil, "which", lambda _: None)
    return root


def test_newest_of_several_versions_is_taken_by_number(system: Path) -> None:
    installed(system, "9.6", "17", "10")
    assert postgres._binaries() == system / "17" / "bin"


def test_program_on_the_path_is_the_fallback(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres.shutil, "which", lambda name: f"/opt/pg/bin/{name}")
    assert postgres._binaries() == Path("/opt/pg/bin")
    installed(system, "15")
    assert postgres._binaries() == system / "15" / "bin"


def test_missing_program_is_reported_with_both_remedies(system: Path) -> None:
    with pytest.raises(RuntimeError, match=r"not installed.*apt-get install postgresql.*services\.postgres_port"):
        postgres._binaries()


def test_only_root_needs_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres.os, "getuid", lambda: 1000)
    assert postgres._user() is None
    monkeypatch.setattr(postgres.os, "getuid", lambda: 0)
    monkeypatch.setattr(postgres.pwd, "getpwnam", lambda name: SimpleNamespace(pw_name=name))
    assert postgres._user() == "postgres"

    def unknown(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(postgres.pwd, "getpwnam", unknown)
    with pytest.raises(RuntimeError, match="no user `postgres`; install"):
        postgres._user()


class Server:
    """A PostgreSQL server: databases by name, each with the schema that was written into it, None before that."""

    def __init__(self, **found: str | None) -> None:
        self.databases = found
        self.created: list[str] = []

    def connection(self, port: int, password: str, database: str) -> Any:
        assert (port, bool(password)) == (5401, True)
        self._database = database
        return self

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute(self, query: str) -> Any:
        if query.startswith("create database"):
            self.created.append(query.split()[-1])
            return None
        if "pg_database" in query:
            return [(name,) for name in self.databases]
        schema = self.databases[self._database]
        if "to_regclass" in query:
            return SimpleNamespace(fetchone=lambda: (schema and "alembic_version",))
        assert schema is not None, "there is no such table yet"
        return SimpleNamespace(fetchone=lambda: (schema,))


def serve(monkeypatch: pytest.MonkeyPatch, **databases: str | None) -> Server:
    server = Server(**databases)
    monkeypatch.setattr(postgres, "_connection", server.connection)
    return server


def test_only_missing_databases_are_created(monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(monkeypatch, postgres=None, mlflow=None)
    create_databases(5401, "password")
    assert server.created == ["prefect", "mlflow_accounts"]


def test_empty_and_current_databases_are_accepted(monkeypatch: pytest.MonkeyPatch, secret: Tokens) -> None:
    latest = schemas(PREFECT_POSTGRES.package, PREFECT_POSTGRES.migrations)[1]
    serve(monkeypatch, prefect=latest, mlflow=None)
    check_schemas(5401, secret)


@pytest.mark.parametrize("database", ["prefect", "mlflow"])
def test_database_of_a_newer_version_is_refused_by_name(
    database: str, monkeypatch: pytest.MonkeyPatch, secret: Tokens
) -> None:
    serve(monkeypatch, **{"prefect": None, "mlflow": None, database: "ffffffffffff"})
    message = f"database {database} of PostgreSQL on port 5401 has schema ffffffffffff.*newer version wrote it; install"
    with pytest.raises(ServiceError, match=message):
        check_schemas(5401, secret)


def test_old_database_of_mlflow_is_refused_with_a_command_that_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, secret: Tokens
) -> None:
    known, latest = schemas(MLFLOW.package, MLFLOW.migrations)
    serve(monkeypatch, prefect=None, mlflow=min(known - {latest}))
    with pytest.raises(ServiceError) as error:
        check_schemas(5401, secret)
    command = (
        f"PGPASSWORD=$(cat {secret.path('postgres')}) mlflow db upgrade postgresql+psycopg://olmo@127.0.0.1:5401/mlflow"
    )
    assert str(error.value).endswith(command)
    assert secret["postgres"] not in str(error.value)
