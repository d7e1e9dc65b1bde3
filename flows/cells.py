"""Cells of the table of evaluations that are empty: which model has no result of the suite yet, and what fills it."""

from olmo_core.artifact.identity import Step
from olmo_core.artifact.store import Store
from olmo_core.recipe.plan import Plan


def missing_results(plan: Plan, store: Store) -> list[Step]:
    """Return the evaluations that are not there: of models in the store, or of all a Hub repository has."""
    results = {result.id: result for _, result in plan.evaluated()}
    return [step for step in results.values() if store.peek(step) is None and _within_reach(plan, store, step)]


def to_make(plan: Plan, missing: list[Step]) -> list[Step]:
    """Return what fills the cells, inputs first: the suite, models and tokenizers of a repository, the evaluations."""
    if not missing:
        return []
    roles = ("model", "tokenizer") if plan.repository is not None else ()
    return [plan.suite, *(step.inputs[role] for step in missing for role in roles), *missing]


def _within_reach(plan: Plan, store: Store, result: Step) -> bool:
    return plan.repository is not None or store.peek(result.inputs["model"]) is not None
