"""Whether what a part of a release needs from the others is there, told before anything starts."""

from collections.abc import Sequence

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import MissingInputError
from olmo_core.artifact.store import Store
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import Recipe


def check_inputs(plan: Plan, store: Store, parts: Sequence[str]) -> None:
    """Look for everything these parts read and do not make themselves.

    Raises:
        MissingInputError: names for every other part the first thing of it that is not in the store, and how to run it.
    """
    made = {step.id: step for part in parts for step in made_by(plan, part)}
    missing: dict[str, Step] = {}
    for step in made.values():
        if store.peek(step) is None:
            for source in step.inputs.values():
                if source.id not in made and store.peek(source) is None:
                    part = next(part for part in plan.parts if source in plan.steps_of(part))
                    missing.setdefault(part, source)
    if missing:
        name, first = plan.recipe.name, [part for part in plan.parts if part in missing]
        labels = ", ".join(missing[part].label for part in first)
        commands = " and ".join(f"`olmo run {name} --only {part}`" for part in first)
        deployments = ", ".join(f"{deployment_name(plan.recipe, part)}/{name}" for part in first)
        raise MissingInputError(
            f"{', '.join(parts)} of {name} needs {labels}, not in {store.root}; "
            f"run first {commands}, or the deployments {deployments}"
        )


def made_by(plan: Plan, part: str) -> list[Step]:
    """Return what the flow of a part makes: what it adds to the store, and the evaluations that rests on."""
    judged = [plan.results[step.id] for step in plan.candidates()] if part == "soup" else []
    suite = [plan.suite] if part == "evaluate" else []
    return [*suite, *judged, *plan.steps_of(part)]


def deployment_name(recipe: Recipe, part: str) -> str:
    """Return what the deployment of a part is called: stages by their role, where only one has it."""
    starts = [name for name, each in recipe.stages.items() if each.start is None]
    others = [name for name in recipe.stages if name not in starts]
    roles = {starts[0]: "pretrain"} if len(starts) == 1 else {}
    roles |= {others[0]: "anneal"} if len(others) == 1 else {}
    return roles.get(part, part)
