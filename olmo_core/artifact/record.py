"""The record of an artifact: what it is, what it was made from, which files it has, who made it, and its proof.

`record.json` is written last; its presence means the artifact is complete. Writing it is left to `attempt`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from olmo_core.artifact.files import list_files, safe_path, sha256_files
from olmo_core.artifact.identity import UnstableValueError, canonical
from olmo_core.artifact.source import Code, Environment, Source

SEAL = "seal"


class DamagedRecordError(ValueError):
    """A record cannot be read, or does not say what was written."""


class FileEntry(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True)

    path: Annotated[str, AfterValidator(safe_path)] = Field(
        description="Relative POSIX path below the artifact's folder."
    )
    size: int = Field(ge=0, description="Bytes.")
    sha256: str = Field(description="Digest of its bytes, 64 hex digits.")


class Input(BaseModel):
    """One artifact this one was made from."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(description="Kind of the step that made it.")
    name: str = Field(description="Name of the step that made it.")
    id: str = Field(description="Id of the step that made it.")
    digest: str | None = Field(
        description="Digest of its content; None for a run that was still going on when its checkpoint was committed."
    )


class Record(BaseModel):
    """Everything that is known about a complete artifact.

    `digest` is over kind, files and result: two releases of one recipe must agree on it. Times, host, code,
    environment, attempt and energy stay outside of it.
    """

    model_config = ConfigDict(frozen=True)

    kind: str = Field(description="What it is, one noun.")
    name: str = Field(description="Name for people and paths.")
    version: int = Field(description="Version of the code of its step.")
    id: str = Field(description="Sha256 of the canonical payload.")
    payload: dict[str, Any] = Field(description="What the id is the digest of.")
    inputs: dict[str, Input] = Field(description="Role -> artifact it was made from.")
    files: list[FileEntry] = Field(description="Its files, sorted by path.")
    result: dict[str, Any] = Field(description="Small deterministic values its work returned.")
    digest: str = Field(description="Identity of its content.")
    attempt: int = Field(description="Number of the lease entry under which it was made; its files lie in attempt-<n>.")
    started: str = Field(description="When its work began, UTC, ISO 8601.")
    finished: str = Field(description="When it was committed, UTC, ISO 8601.")
    seconds: float = Field(description="Duration between the two by a monotonic clock.")
    host: str = Field(description="Machine that committed it.")
    code: Code = Field(description="Commit it was made by.")
    source: Source = Field(description="Digests of the step's source over its import closure.")
    environment: Environment = Field(description="Interpreter, machine and package versions.")
    energy: dict[str, float] | None = Field(default=None, description="Energy readings, keys with units such as kwh.")

    @property
    def label(self) -> str:
        """How people call it: `<kind>/<name>`."""
        return f"{self.kind}/{self.name}"

    @property
    def folder(self) -> str:
        """Where it lies below the store's root, the same as its step's."""
        return f"{self.kind}/{self.name}-{self.id[:12]}"

    @property
    def files_folder(self) -> str:
        """Where its files lie below the store's root; each attempt has its own, so two owners never mix bytes."""
        return f"{self.folder}/attempt-{self.attempt}"

    def sealed(self) -> dict[str, Any]:
        """Return the record as plain JSON with a digest over itself, so that any damage shows."""
        plain = self.model_dump(mode="json")
        return {**plain, SEAL: _sha256(plain)}

    def to_json(self) -> bytes:
        """Return what `record.json` holds."""
        return json.dumps(self.sealed(), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> "Record":
        """Read a record and check that it is the one that was written.

        Raises:
            DamagedRecordError: it is no record, or its seal, id or digest does not belong to the rest of it.
        """
        try:
            return cls.unseal(json.loads(data))
        except (ValueError, RecursionError) as error:
            raise DamagedRecordError(f"record cannot be read: {error}") from error

    @classmethod
    def unseal(cls, plain: Any) -> "Record":
        """Read a record from plain JSON; see `from_json`."""
        if not isinstance(plain, dict):
            raise DamagedRecordError("record is no JSON object")
        body = {key: value for key, value in plain.items() if key != SEAL}
        try:
            if plain.get(SEAL) != _sha256(body):
                raise DamagedRecordError("record does not match its seal")
            record = cls.model_validate(body)
        except (ValidationError, UnstableValueError) as error:
            raise DamagedRecordError(f"record cannot be read: {error}") from error
        if record.id != _sha256(record.payload) or record.digest != content_digest(
            record.kind, record.files, record.result
        ):
            raise DamagedRecordError("record's id or digest does not follow from its content")
        return record


def describe_files(folder: Path) -> list[FileEntry]:
    """Hash every file below `folder`, sorted by path; see `list_files` for what is refused."""
    listed = list_files(folder)
    return [
        FileEntry(path=name, size=path.stat().st_size, sha256=digest)
        for (name, path), digest in zip(listed.items(), sha256_files(listed.values()), strict=True)
    ]


def content_digest(kind: str, files: Sequence[FileEntry], result: Mapping[str, Any]) -> str:
    """Return the identity of an artifact's content: sha256 over kind, sorted files and result."""
    listed = sorted([entry.path, entry.size, entry.sha256] for entry in files)
    return _sha256({"kind": kind, "files": listed, "result": dict(result)})


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()
