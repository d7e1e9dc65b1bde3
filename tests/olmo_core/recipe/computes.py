"""What plans of the recipe of test size run on: a laptop of two cores, and a cluster, as a profile describes them."""

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
    """One machine whose steps share four CPUs by name."""

    @property
    def logical_cpus(self) -> int | None:
        return 4


class Cluster(Compute):
    """A cluster that is up already; revisions go to a Hub."""

    @property
    def remote(self) -> bool:
        return True

    @property
    def copies_revisions(self) -> bool:
        return False


def computed_on(model: type[Compute], *overrides: str) -> Compute:
    """Return the laptop's workers, with some fields changed, on a machine or a cluster."""
    return validate(model, apply_overrides(WORKERS, overrides), "compute")


def laptop(*overrides: str) -> Compute:
    return computed_on(FourCpus, *overrides)
