"""What recipe and profile only together make impossible is refused by the plan, and nothing else is."""

from typing import Any

import pytest

from olmo_core.recipe.fit import check_fit
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.profile import Profile
from olmo_core.recipe.recipe import load_recipe


def plan(*overrides: str) -> Plan:
    return lay_out(load_recipe("micro", list(overrides)))


def profile(workers: dict[str, Any], **ray: Any) -> Profile:
    return Profile.model_validate({"name": "mine", "training": {"seeds": workers}, "ray": ray})


@pytest.mark.parametrize(
    ("overrides", "workers", "ray", "said"),
    [
        (
            (),
            {"count": 3},
            {},
            r"^stages\.stage2 on training\.seeds of profile mine: batch_size 8 cannot be shar",
        ),
        (("stages.stage2.precision=float8",), {}, {}, "precision is float8, which a CPU does not have; give bf16"),
        ((), {"count": 4, "cpus": 1.5}, {}, r"4 workers of 1\.5 CPUs need 6, Ray is started with 2; .* ray\.cpus 6"),
        ((), {"count": 2, "cpus": 2}, {"cpus": 3}, "Ray is started with 3; give fewer workers"),
    ],
)
def test_workers_that_cannot_train_a_stage_are_told_with_what_would(
    overrides: tuple[str, ...], workers: dict[str, Any], ray: dict[str, Any], said: str
) -> None:
    made = plan(*overrides)
    with pytest.raises(ConfigError, match=said):
        check_fit(made, profile(workers, **ray), made.steps, cores=2)
    check_fit(made, profile(workers, **ray), made.steps_of("stage1"), cores=2)


def test_a_cluster_that_runs_already_and_one_of_more_logical_cpus_are_taken_at_their_word() -> None:
    made = plan()
    check_fit(made, profile({"count": 4}, address="127.0.0.1:6379"), made.steps, cores=2)
    check_fit(made, profile({"count": 4}, cpus=4), made.steps, cores=2)
