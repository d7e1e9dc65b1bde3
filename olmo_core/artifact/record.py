"""The record of an artifact: its identity, inputs, files, origin and digests.

`attempt` writes `record.json` last; its presence means that the artifact is complete.
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
    """A record cannot be read, or differs from what was written."""


class FileEntry(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True)

    path: Annotated[str, AfterValidator(safe_path)] = Field(
        description="Relative POSIX path below the artifact's folder."
    )
    size: int = Field(ge=0, description="Bytes.")
    sha256: str = Field(description="Digest of its bytes, 64 hex digits.")


class Input(BaseModel):
    """An artifact that another one was made from."""

    model_config = ConfigDict(frozen=True)

    kind: str = Field(description="Kind of the step that made it.")
    name: str = Field(description="Name of the step that made it.")
    id: str = Field(description="Id of the step that made it.")
    digest: str | None = Field(
        description="Digest of its content; None for a run that was still active when its checkpoint was committed."
    )


class Record(BaseModel):
    """Everything known about a complete artifact.

    `digest` covers kind, files and result: two releases of one recipe must agree on it. It does not cover times, host,
    code, environment, attempt and energy.
    """

    model_config = ConfigDict(frozen=True)

    kind: str = Field(description="What it is, one noun.")
    name: str = Field(description="Name for people and paths.")
    version: int = Field(description="Version of the code of its step.")
    id: str = Field(description="Sha256 of the canonical payload.")
    payload: dict[str, Any] = Field(description="Values that the id is the digest of.")
    inputs: dict[str, Input] = Field(description="Role -> artifact it was made from.")
    files: list[FileEntry] = Field(description="Its files, sorted by path.")
    result: dict[str, Any] = Field(description="Small deterministic values that its work returned.")
    digest: str = Field(description="Identity of its content.")
    attempt: int = Field(description="Number of the lease entry under which it was made; its files are in attempt-<n>.")
    started: str = Field(description="When its work began, UTC, ISO 8601.")
    finished: str = Field(description="When it was committed, UTC, ISO 8601.")
    seconds: float = Field(description="Time between the two by a monotonic clock.")
    host: str = Field(description="Machine that committed it.")
    code: Code = Field(description="Commit of the code that made it.")
    source: Source = Field(description="Digests of the step's source over its import closure.")
    environment: Environment = Field(description="Interpreter, machine and package versions.")
    energy: dict[str, float] | None = Field(default=None, description="Energy readings, keys with units such as kwh.")

    @property
    def label(self) -> str:
        """Its name in messages: `<kind>/<name>`."""
        return f"{self.kind}/{self.name}"

    @property
    def folder(self) -> str:
        """Its folder below the store's root, the same as its step's."""
        return f"{self.kind}/{self.name}-{self.id[:12]}"

    @property
    def files_folder(self) -> str:
        """The folder of its files below the store's root; each attempt has its own, so owners never mix their bytes."""
        return f"{self.folder}/attempt-{self.attempt}"

    def sealed(self) -> dict[str, Any]:
        """Return the record as plain JSON with a digest of itself, so that any damage is detected."""
        plain = self.model_dump(mode="json")
        return {**plain, SEAL: _sha256(plain)}

    def to_json(self) -> bytes:
        """Return the bytes of `record.json`."""
        return json.dumps(self.sealed(), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> "Record":
        """Read a record and check that it is unchanged since it was written.

        Raises:
            DamagedRecordError: not a record, or its seal, id or digest does not match the rest of it.
        """
        try:
            return cls.unseal(json.loads(data))
        except (ValueError, RecursionError) as error:
            raise DamagedRecordError(f"record cannot be read: {error}") from error

    @classmethod
    def unseal(cls, plain: Any) -> "Record":
        """Read a record from plain JSON; see `from_json`."""
        if not isinstance(plain, dict):
            raise DamagedRecordError("record is not a JSON object")
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
            raise DamagedRecordError("record's id or digest does not match its content")
        return record


def describe_files(folder: Path) -> list[FileEntry]:
    """Return size and sha256 of every file below `folder`, sorted by path; raises what `list_files` raises."""
    listed = list_files(folder)
    return [
        FileEntry(path=name, size=path.stat().st_size, sha256=digest)
        for (name, path), digest in zip(listed.items(), sha256_files(listed.values()), strict=True)
    ]


def content_digest(kind: str, files: Sequence[FileEntry], result: Mapping[str, Any]) -> str:
    """Return the identity of an artifact's content: the sha256 of kind, sorted files and result."""
    listed = sorted([entry.path, entry.size, entry.sha256] for entry in files)
    return _sha256({"kind": kind, "files": listed, "result": dict(result)})


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()
