"""Compute: what the steps of a release run on, as needed to plan and predict. Nothing in it bears identity.

It is the part of a profile that this library uses; `infra.profile` adds servers, addresses and folders.
"""

from pydantic import Field, field_validator

from olmo_core.hub.placement import HubPlacement
from olmo_core.recipe.carbon import kilograms_per_kwh
from olmo_core.recipe.quantity import Count
from olmo_core.recipe.section import Section
from olmo_core.train.placement import TrainPlacement


class Workers(Section):
    """Workers of a training run."""

    count: int = Field(1, ge=1, description="Data-parallel workers of a run.")
    cpus: float = Field(1, gt=0, description="Logical CPUs per worker; determines how many runs fit in parallel.")
    gpus: float = Field(0, ge=0, description="GPUs per worker.")
    placement: TrainPlacement = Field(default_factory=TrainPlacement, description="How a worker runs.")


class Training(Section):
    """Workers of training runs: of stages with one run, and of stages whose seeds run in parallel."""

    single: Workers = Field(default_factory=Workers, description="Workers of the run of a stage with one seed.")
    seeds: Workers = Field(default_factory=Workers, description="Workers of each run of a stage with several seeds.")


class Budget(Section):
    """Limits for a release; `olmo plan` exits with code 3 if one is exceeded."""

    minutes: float | None = Field(None, gt=0, description="Wall-clock minutes.")
    kwh: float | None = Field(None, gt=0, description="Kilowatt hours.")
    flops: Count | None = Field(None, gt=0, description="Floating point operations of training.")


class Speed(Section):
    """Expected speed and power of the machine, used if there is no record and no energy counter."""

    flops_per_second: Count | None = Field(
        None,
        gt=0,
        description="Training FLOP/s of a worker, used if there is no record; if not given, a CPU is measured.",
    )
    watts: float = Field(65, gt=0, description="Mean power of the machine under load, in watts.")


class Compute(Section):
    """What steps run on: devices, workers, their speed, and the budget of a release."""

    name: str = Field(description="Name of the profile.")
    placement: HubPlacement = Field(
        default_factory=HubPlacement, description="How steps other than training runs are executed."
    )
    background_workers: int = Field(
        2, ge=1, description="Low-priority workers that evaluate and publish while training runs, on idle CPU time."
    )
    training: Training = Field(default_factory=Training, description="Workers of training runs.")
    budget: Budget = Field(default_factory=Budget, description="What a release may cost.")
    speed: Speed = Field(default_factory=Speed, description="Expected speed and power of the machine.")
    country: str | None = Field(
        None, description="Country whose electricity is used, ISO 3166 alpha-3; if not given, CO2e is not recorded."
    )

    @field_validator("country")
    @classmethod
    def _with_a_known_mix(cls, country: str | None) -> str | None:
        if country is not None:
            kilograms_per_kwh(country)
        return country

    @property
    def remote(self) -> bool:
        """Whether steps run on an existing cluster, whose size is only known once it is queried."""
        return False

    @property
    def logical_cpus(self) -> int | None:
        """Number of logical CPUs that running steps share; None for the number of this machine."""
        return None

    @property
    def copies_revisions(self) -> bool:
        """Whether each published revision takes disk space in addition to its artifact."""
        return True
