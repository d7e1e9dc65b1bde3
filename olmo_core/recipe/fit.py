"""Checks, before a start, that the workers of a profile can train the stages of a plan."""

import math
from collections.abc import Iterable

from olmo_core.artifact.identity import Step
from olmo_core.recipe.compute import Compute, Workers
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan, Run
from olmo_core.train.sharing import check_sharing


def check_fit(plan: Plan, compute: Compute, todo: Iterable[Step], cores: int) -> None:
    """Check every stage that has a run to be made.

    Args:
        plan: plan with the stages.
        compute: workers of the stages.
        todo: steps to be made.
        cores: CPUs of this machine.

    Raises:
        ConfigError: the workers of a stage cannot share its batch, do not support its precision, or need more CPUs than
            Ray is started with; Ray would wait for them forever.
    """
    ids = {step.id for step in todo}
    cpus = None if compute.remote else compute.logical_cpus or cores
    for stage, runs in plan.runs.items():
        if any(run.step.id in ids for run in runs):
            which = "single" if len(runs) == 1 else "seeds"
            workers = plan.workers(runs[0].step, compute)
            try:
                _check(runs[0], workers, cpus)
            except ValueError as error:
                raise ConfigError(f"stages.{stage} on training.{which} of profile {compute.name}: {error}") from error


def _check(run: Run, workers: Workers, cpus: int | None) -> None:
    check_sharing(run.config, workers.placement, workers.count)
    if run.config.precision == "float8" and workers.placement.device == "cpu":
        raise ValueError("precision is float8, which a CPU does not support; give bf16, or placement.device cuda")
    needed = workers.cpus * workers.count
    if cpus is not None and needed > cpus:
        raise ValueError(
            f"{workers.count} workers of {workers.cpus:g} CPUs need {needed:g}, Ray is started with {cpus}; give fewer "
            f"workers, or ray.cpus {math.ceil(needed)} to let them share the cores"
        )
