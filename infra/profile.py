"""Profile: where and how a release runs. Nothing in it bears identity; changing it changes no id.

The recipe declares what is made, and `Compute` what it runs on. Secrets are never in a profile: they come from the
environment or from a file.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from olmo_core.hub.names import REPOSITORY
from olmo_core.recipe.compute import Compute
from olmo_core.recipe.overrides import ConfigError, apply_overrides, find_yaml, read_yaml, validate
from olmo_core.recipe.section import Section

BUILTIN = Path(__file__).parent / "profiles"


class RayCluster(Section):
    """The Ray cluster that steps run on."""

    address: str | None = Field(
        None, description="Address of a running cluster; a cluster is started here if not given."
    )
    cpus: int | None = Field(
        None, ge=1, description="Logical CPUs of a cluster started here; all of the machine's if not given."
    )


class Hub(Section):
    """Where revisions are published."""

    repo: str | None = Field(
        None, description="Repository, `organisation/name`; that of the recipe's card if not given."
    )
    endpoint: str | None = Field(
        None,
        description="Address of a Hub; if not given, revisions go to a local folder laid out as the Hub's cache.",
    )


class Services(Section):
    """Servers that `olmo up` starts on this machine; all of them listen on 127.0.0.1."""

    prefect_port: int = Field(4200, ge=1, le=65535, description="Port of Prefect's API and dashboard.")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of MLflow's API and dashboard.")
    ray_port: int = Field(6379, ge=1, le=65535, description="Port of the Ray cluster.")
    ray_client_port: int = Field(10001, ge=1, le=65535, description="Port of Ray's client server.")
    dashboard_port: int = Field(8265, ge=1, le=65535, description="Port of Ray's dashboard.")
    postgres_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port of PostgreSQL for Prefect and MLflow; they use SQLite files if not given.",
    )


class Profile(Compute):
    """Where and how a release runs."""

    home: Path = Field(Path(".olmo"), description="Folder for all that is kept, unless another field gives its place.")
    artifacts: str | None = Field(
        None, description="Root of the artifact store: a folder or an fsspec address; below home if not given."
    )
    mlflow: str | None = Field(
        None, description="Address of an MLflow tracking server; a database below home if not given."
    )
    prefect: str | None = Field(None, description="Address of a Prefect API; a server is started here if not given.")
    ray: RayCluster = Field(default_factory=RayCluster, description="The Ray cluster.")
    hub: Hub = Field(default_factory=Hub, description="Where revisions are published.")
    services: Services = Field(default_factory=Services, description="Servers that `olmo up` starts.")
    schedules: dict[str, str] = Field(
        default_factory=lambda: {"nightly-evals": "0 3 * * *"},
        description="Deployment → cron line, in UTC, by which it runs by itself.",
    )
    repositories: dict[Annotated[str, Field(pattern=REPOSITORY)], str] = Field(
        default_factory=dict,
        description="Hub repositories that are evaluated nightly: `organisation/name` → shell pattern of revisions.",
    )
    webhook: str | None = Field(
        None,
        description="Environment variable that holds the address regressions are posted to; none are if not given.",
    )

    @property
    def remote(self) -> bool:
        """Whether steps run on an existing cluster, so that none is started."""
        return self.ray.address is not None

    @property
    def logical_cpus(self) -> int | None:
        """Number of logical CPUs given to Ray; None for all of the machine's."""
        return self.ray.cpus

    @property
    def copies_revisions(self) -> bool:
        """Whether revisions are copied into a local folder."""
        return self.hub.endpoint is None

    @property
    def store_root(self) -> str:
        """Root of the artifact store: an address, or an absolute path."""
        if not self.artifacts:
            return str(self.folder / "artifacts")
        return self.artifacts if "://" in self.artifacts else str(_absolute(self.artifacts, "artifacts"))

    @property
    def folder(self) -> Path:
        """Absolute home folder; `OLMO_HOME` in the environment comes first."""
        given = os.environ.get("OLMO_HOME")
        return _absolute(given, "OLMO_HOME") if given else _absolute(self.home, "home")


def _absolute(path: str | Path, field: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(f"{field} (value '{path}'): there is no such user; give the path of the folder") from error


def load_profile(name: str, overrides: list[str] | None = None) -> Profile:
    """Return a built-in profile by name, or one from a YAML file by path.

    Raises:
        ConfigError: the profile is not known or not valid.
    """
    path = find_yaml(name, BUILTIN, "profile")
    values = apply_overrides({"name": path.stem, **read_yaml(path)}, overrides or [])
    return validate(Profile, values, f"profile {name}")
