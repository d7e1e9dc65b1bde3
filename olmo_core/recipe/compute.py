"""Compute: what the steps of a release run on, as planning and predicting need it. Nothing in it bears identity.

It is the part of a profile that the library knows. Servers, addresses and folders are added above, by `infra.profile`.
"""

from pydantic import Field, field_validator

from olmo_core.hub.placement import HubPlacement
from olmo_core.recipe.carbon import kilograms_per_kwh
from olmo_core.recipe.quantity import Count
from olmo_core.recipe.section import Section
from olmo_core.train.placement import TrainPlacement


class Workers(Section):
    """Workers of one training run."""

    count: int = Field(1, ge=1, description="Data-parallel workers of one run.")
    cpus: float = Field(1, gt=0, description="Logical CPUs of one worker; decides how many runs fit side by side.")
    gpus: float = Field(0, ge=0, description="GPUs of one worker.")
    placement: TrainPlacement = Field(default_factory=TrainPlacement, description="How a worker runs.")


class Training(Section):
    """Workers of training runs: of stages with one run, and of stages whose seeds run side by side."""

    single: Workers = Field(default_factory=Workers, description="Workers of the run of a stage with one seed.")
    seeds: Workers = Field(default_factory=Workers, description="Workers of each run of a stage with several seeds.")


class Budget(Section):
    """What a release may cost; `olmo plan` exits with code 3 above it."""

    minutes: float | None = Field(None, gt=0, description="Wall-clock minutes.")
    kwh: float | None = Field(None, gt=0, description="Kilowatt hours.")
    flops: Count | None = Field(None, gt=0, description="Floating point operations of training.")


class Speed(Section):
    """Expected speed and power of the machine, used where there is no record and no counter."""

    flops_per_second: Count | None = Field(
        None,
        gt=0,
        description="Training FLOP/s of one worker, used without a record; on a CPU measured when not given.",
    )
    watts: float = Field(65, gt=0, description="Mean power of the machine at work, in watts.")


class Compute(Section):
    """What steps run on: devices, workers, their speed and what a release may cost."""

    name: str = Field(description="Name of the profile.")
    placement: HubPlacement = Field(
        default_factory=HubPlacement, description="How steps other than training runs are made."
    )
    background_workers: int = Field(
        2, ge=1, description="Low-priority workers that evaluate and publish while training runs, on idle CPU time."
    )
    training: Training = Field(default_factory=Training, description="Workers of training runs.")
    budget: Budget = Field(default_factory=Budget, description="What a release may cost.")
    speed: Speed = Field(default_factory=Speed, description="Expected speed and power of the machine.")
    country: str | None = Field(
        None, description="Country whose electricity is used, ISO 3166 alpha-3; CO2e is not recorded when not given."
    )

    @field_validator("country")
    @classmethod
    def _with_a_known_mix(cls, country: str | None) -> str | None:
        if country is not None:
            kilograms_per_kwh(country)
        return country

    @property
    def remote(self) -> bool:
        """Whether steps run on a cluster that is up already, whose size is not known before it is asked."""
        return False

    @property
    def logical_cpus(self) -> int | None:
        """How many CPUs the steps at work share, by name only; None for as many as there are."""
        return None

    @property
    def copies_revisions(self) -> bool:
        """Whether each published revision takes disk of its own, beside its artifact."""
        return True
