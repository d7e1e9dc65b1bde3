"""Plans of `micro`, unchanged and with overrides."""

from pathlib import Path

from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe

ROOT = Path(__file__).parents[3]
SINGLE = ("mix", "tokens", "seeds")


def planned(*overrides: str) -> Plan:
    return lay_out(load_recipe("micro", list(overrides)))


def ids(plan: Plan) -> dict[str, str]:
    return {step.label: step.id for step in plan.steps}


def resting_on(plan: Plan, direct: set[str]) -> set[str]:
    """Return the labels of these steps and of all that depend on them."""
    return {step.label for step in plan.steps if direct & {below.label for below in step.closure()}}


MICRO = planned()
GROUPS = ("heldout", "kinds", "opposites")  # of micro's results
MICRO_IDS = ids(MICRO)


def changed(*overrides: str) -> set[str]:
    """Return the labels of micro's steps that have another id, or are missing, with overrides."""
    after = ids(planned(*overrides))
    return {label for label, step_id in MICRO_IDS.items() if after.get(label) != step_id}


def results_on(group: str) -> set[str]:
    """Labels of micro's results on one group."""
    return {label for label in of_kind("result") if label.endswith(f"-{group}")}


def of_kind(*kinds: str) -> set[str]:
    return {label for label in MICRO_IDS if label.partition("/")[0] in kinds}
