"""Profile: where and how a release runs. Nothing in it bears identity; changing it changes no id.

What is made is said by `recipe`. Secrets are never in a profile: they come from the environment or from a file.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from olmo_core.hub.names import REPOSITORY
from olmo_core.hub.placement import HubPlacement
from olmo_core.recipe.carbon import kilograms_per_kwh
from olmo_core.recipe.overrides import ConfigError, apply_overrides, find_yaml, read_yaml, validate
from olmo_core.recipe.quantity import Count
from olmo_core.train.placement import TrainPlacement

BUILTIN = Path(__file__).parent / "profiles"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RayCluster(_Section):
    """The Ray cluster that the work runs on."""

    address: str | None = Field(None, description="Address of a running cluster; one is started when not given.")
    cpus: int | None = Field(
        None, ge=1, description="Logical CPUs of the cluster that is started; all of the machine's if not given."
    )


class Workers(_Section):
    """Workers of one training run."""

    count: int = Field(1, ge=1, description="Data-parallel workers of one run.")
    cpus: float = Field(1, gt=0, description="Logical CPUs of one worker; decides how many runs go side by side.")
    gpus: float = Field(0, ge=0, description="GPUs of one worker.")
    placement: TrainPlacement = Field(default_factory=TrainPlacement, description="How a worker runs.")
    restarts: int = Field(2, ge=0, description="Restarts of a run whose worker died, before the run counts as failed.")


class Training(_Section):
    """Workers of training runs, for stages of one run and for stages whose seeds run side by side."""

    single: Workers = Field(default_factory=Workers, description="For a stage with one seed.")
    seeds: Workers = Field(default_factory=Workers, description="For each run of a stage with several seeds.")


class Hub(_Section):
    """Where revisions are published."""

    repo: str | None = Field(None, description="Repository, `organisation/name`; the card's when not given.")
    endpoint: str | None = Field(
        None, description="A Hub's address; published into a local folder of the Hub's cache layout when not given."
    )


class Budget(_Section):
    """What a release may cost; `olmo plan` ends with exit code 3 above it."""

    minutes: float | None = Field(None, gt=0, description="Wall-clock minutes.")
    kwh: float | None = Field(None, gt=0, description="Kilowatt hours.")
    flops: Count | None = Field(None, gt=0, description="Floating point operations of training.")


class Speed(_Section):
    """What this machine is expected to do, until records of its own tell better."""

    flops_per_second: Count | None = Field(
        None,
        gt=0,
        description="Training FLOP/s of one worker, where there is no record; measured where not given, for a CPU.",
    )
    watts: float = Field(65, gt=0, description="Mean power of the machine at work.")


class Services(_Section):
    """Servers that `olmo up` starts on this machine; all of them listen on 127.0.0.1."""

    prefect_port: int = Field(4200, ge=1, le=65535, description="Port of Prefect's API and dashboard.")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of MLflow's API and dashboard.")
    ray_port: int = Field(6379, ge=1, le=65535, description="Port of the Ray cluster.")
    ray_client_port: int = Field(10001, ge=1, le=65535, description="Port of Ray's client server.")
    dashboard_port: int = Field(8265, ge=1, le=65535, description="Port of Ray's dashboard.")
    postgres_port: int | None = Field(
        None, ge=1, le=65535, description="Port of a PostgreSQL for Prefect and MLflow; SQLite files when not given."
    )


class Profile(_Section):
    """Where and how a release runs."""

    name: str = Field(description="Name of the profile.")
    home: Path = Field(Path(".olmo"), description="Folder of everything that is kept, unless said otherwise below.")
    artifacts: str | None = Field(None, description="Root of the artifact store; below home if not given.")
    mlflow: str | None = Field(None, description="MLflow tracking address; a database below home when not given.")
    prefect: str | None = Field(None, description="Address of a Prefect API; a server of our own when not given.")
    ray: RayCluster = Field(default_factory=RayCluster, description="The Ray cluster.")
    placement: HubPlacement = Field(default_factory=HubPlacement, description="How steps other than training run.")
    background_workers: int = Field(
        2, ge=1, description="Low-priority workers that evaluate and publish while training runs, on idle CPU time."
    )
    training: Training = Field(default_factory=Training, description="Workers of training runs.")
    hub: Hub = Field(default_factory=Hub, description="Where revisions go.")
    services: Services = Field(default_factory=Services, description="What `olmo up` starts.")
    schedules: dict[str, str] = Field(
        default_factory=lambda: {"nightly-evals": "0 3 * * *"},
        description="When deployments run by themselves: deployment -> cron line, in UTC.",
    )
    repositories: dict[Annotated[str, Field(pattern=REPOSITORY)], str] = Field(
        default_factory=dict,
        description="Hub repositories evaluated by night too: `organisation/name` -> revisions, a shell pattern.",
    )
    webhook: str | None = Field(
        None, description="Environment variable that holds the address regressions are posted to; none when not given."
    )
    budget: Budget = Field(default_factory=Budget, description="What a release may cost.")
    speed: Speed = Field(default_factory=Speed, description="What the machine is expected to do.")
    country: str | None = Field(
        None, description="Country whose electricity is used, ISO 3166 alpha-3; CO2e is not told when not given."
    )

    @field_validator("country")
    @classmethod
    def _with_a_known_mix(cls, country: str | None) -> str | None:
        if country is not None:
            kilograms_per_kwh(country)
        return country

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
        ConfigError: there is no such profile, or it does not validate.
    """
    path = find_yaml(name, BUILTIN, "profile")
    values = apply_overrides({"name": path.stem, **read_yaml(path)}, overrides or [])
    return validate(Profile, values, f"profile {name}")
