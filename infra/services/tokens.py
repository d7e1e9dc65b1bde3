"""Tokens of the servers that `olmo up` starts: generated once, in private files, passed by environment."""

import os
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path

USER = "olmo"
_NAMES = ("prefect", "mlflow", "mlflow_cookies", "ray", "postgres")


@dataclass(frozen=True)
class Tokens:
    """The secrets of one group of servers; `repr` shows the folder only."""

    folder: Path

    def __getitem__(self, name: str) -> str:
        """Return the token of a server."""
        return (self.folder / name).read_text()

    def path(self, name: str) -> Path:
        """Return the file with the token of a server."""
        return self.folder / name


def tokens(folder: Path) -> Tokens:
    """Return the tokens in a folder; generate those that do not exist yet."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in _NAMES:
        try:
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(24))
    return Tokens(folder)


def write_private(path: Path, text: str) -> None:
    """Write a file atomically so that only its owner can read it."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def as_exports(environment: dict[str, str]) -> str:
    """Return variables as `export` lines for a shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(environment.items()))
