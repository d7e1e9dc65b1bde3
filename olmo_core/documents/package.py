"""A published package as a source of text: an archive, pinned by its sha256.

`fetch` downloads it, `sources.archive` reads files from it.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import Step
from olmo_core.artifact.imports import swift_imports
from olmo_core.artifact.job import Job

PACKAGE_VERSION = 1


class PackageConfig(BaseModel):
    """One file of a release on the package index, pinned by its digest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name of the project on the index, such as gensim.", pattern=r"^[A-Za-z0-9][\w.-]*$")
    version: str = Field(description="Version of the release, such as 4.4.0.")
    filename: str = Field(
        description="File of that release: a wheel or a source archive.", pattern=r"^[A-Za-z0-9][\w.+-]*$"
    )
    sha256: str = Field(description="SHA-256 of the file, 64 hex digits.", pattern=r"^[0-9a-f]{64}$")


def package_step(config: PackageConfig) -> Step:
    """Return the step whose artifact holds the archive `config.filename`, verified."""
    return Step(
        kind="package",
        name=config.name,
        version=PACKAGE_VERSION,
        fields=config.model_dump(mode="json"),
        work=_fetch,
    )


def _fetch(job: Job) -> dict[str, Any]:
    with swift_imports():
        from olmo_core.documents.fetch import fetch
    return fetch(job)
