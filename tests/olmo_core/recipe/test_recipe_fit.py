"""Combinations of recipe and profile that cannot run are refused, and only those."""

from typing import Any

import pytest
from computes import Cluster, FourCpus

from olmo_core.recipe.compute import Compute
from olmo_core.recipe.fit import check_fit
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe


def plan(*overrides: str) -> Plan:
    return lay_out(load_recipe("micro", list(overrides)))


def compute(workers: dict[str, Any], model: type[Compute] = Compute) -> Compute:
    return model.model_validate({"name": "mine", "training": {"seeds": workers}})


@pytest.mark.parametrize(
    ("overrides", "workers", "model", "message"),
    [
        (
            (),
            {"count": 3},
            Compute,
            r"^stages\.stage2 on training\.seeds of profile mine: batch_size 8 cannot be shar",
        ),
        (
            ("stages.stage2.precision=float8",),
            {},
            Compute,
            "precision is float8, which a CPU does not support; give bf16",
        ),
        (
            (),
            {"count": 4, "cpus": 1.5},
            Compute,
            r"4 workers of 1\.5 CPUs need 6, Ray is started with 2; .* ray\.cpus 6",
        ),
        ((), {"count": 4, "cpus": 2}, FourCpus, "Ray is started with 4; give fewer workers"),
    ],
)
def test_unfit_workers_are_refused_with_remedy(
    overrides: tuple[str, ...], workers: dict[str, Any], model: type[Compute], message: str
) -> None:
    made = plan(*overrides)
    with pytest.raises(ConfigError, match=message):
        check_fit(made, compute(workers, model), made.steps, cores=2)
    check_fit(made, compute(workers, model), made.steps_of("stage1"), cores=2)


def test_cluster_size_and_logical_cpus_are_trusted() -> None:
    made = plan()
    check_fit(made, compute({"count": 4}, Cluster), made.steps, cores=2)
    check_fit(made, compute({"count": 4}, FourCpus), made.steps, cores=2)
