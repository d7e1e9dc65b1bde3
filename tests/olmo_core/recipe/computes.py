"""Computes for plans of `micro`: a laptop with two cores, and a cluster."""

from olmo_core.recipe.compute import Compute
from olmo_core.recipe.overrides import apply_overrides, validate

WORKERS = {
    "name": "laptop",
    "placement": {"threads": 1},
    "training": {
        "single": {"cpus": 2, "placement": {"threads": 2}},
        "seeds": {"cpus": 1, "placement": {"threads": 1}},
    },
}


class FourCpus(Compute):
    """A machine whose steps share four logical CPUs."""

    @property
    def logical_cpus(self) -> int | None:
        return 4


class Cluster(Compute):
    """An existing cluster; revisions go to a Hub."""

    @property
    def remote(self) -> bool:
        return True

    @property
    def copies_revisions(self) -> bool:
        return False


def computed_on(model: type[Compute], *overrides: str) -> Compute:
    """Return a compute of the given class with the laptop's workers and overrides."""
    return validate(model, apply_overrides(WORKERS, overrides), "compute")


def laptop(*overrides: str) -> Compute:
    return computed_on(FourCpus, *overrides)
