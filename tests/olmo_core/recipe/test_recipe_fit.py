"""What recipe and profile only together make impossible is refused by the plan, and nothing else is."""

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
    ("overrides", "workers", "model", "said"),
    [
        (
            (),
            {"count": 3},
            Compute,
            r"^stages\.stage2 on training\.seeds of profile mine: batch_size 8 cannot be shar",
        ),
        (("stages.stage2.precision=float8",), {}, Compute, "precision is float8, which a CPU does not have; give bf16"),
        (
            (),
            {"count": 4, "cpus": 1.5},
            Compute,
            r"4 workers of 1\.5 CPUs need 6, Ray is started with 2; .* ray\.cpus 6",
        ),
        ((), {"count": 4, "cpus": 2}, FourCpus, "Ray is started with 4; give fewer workers"),
    ],
)
def test_workers_that_cannot_train_a_stage_are_told_with_what_would(
    overrides: tuple[str, ...], workers: dict[str, Any], model: type[Compute], said: str
) -> None:
    made = plan(*overrides)
    with pytest.raises(ConfigError, match=said):
        check_fit(made, compute(workers, model), made.steps, cores=2)
    check_fit(made, compute(workers, model), made.steps_of("stage1"), cores=2)


def test_a_cluster_that_runs_already_and_one_of_more_logical_cpus_are_taken_at_their_word() -> None:
    made = plan()
    check_fit(made, compute({"count": 4}, Cluster), made.steps, cores=2)
    check_fit(made, compute({"count": 4}, FourCpus), made.steps, cores=2)
