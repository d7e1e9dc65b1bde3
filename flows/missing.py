"""Steps missing from the store: inputs that a part needs from other parts, and results of models."""

from collections.abc import Sequence

from flows.forms import deployment_name
from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import MissingInputError
from olmo_core.artifact.snapshot import Snapshot
from olmo_core.evaluate.task import HELDOUT
from olmo_core.recipe.plan import Plan


def check_inputs(plan: Plan, held: Snapshot, parts: Sequence[str]) -> None:
    """Check that the store has every input that these parts read but do not make.

    Raises:
        MissingInputError: an input is missing; names the first one of each other part, and how to run that part.
    """
    made = {step.id: step for part in parts for step in made_by(plan, part)}
    check_sources(plan, held, f"{', '.join(parts)} of {plan.recipe.name}", list(made.values()))


def check_sources(plan: Plan, held: Snapshot, what: str, made: Sequence[Step]) -> None:
    """Check that the store has the inputs of those of `made` that it lacks itself; raises as `check_inputs` does.

    Args:
        plan: plan with all of the steps.
        held: content of the store.
        what: subject of the message, such as a flow and its recipe.
        made: steps about to be made.
    """
    own = {step.id for step in made}
    missing: dict[str, Step] = {}
    for step in made:
        if held.peek(step) is None:
            for source in step.inputs.values():
                if source.id not in own and held.peek(source) is None:
                    missing.setdefault(plan.part_of(source), source)
    if missing:
        name, first = plan.recipe.name, [part for part in plan.parts if part in missing]
        labels = ", ".join(missing[part].label for part in first)
        commands = " and ".join(f"`olmo run {name} --only {part}`" for part in first)
        deployments = ", ".join(f"{deployment_name(plan.recipe, part)}/{name}" for part in first)
        raise MissingInputError(
            f"{what} needs {labels}, not found in {held.root}; first run {commands}, or the deployments {deployments}"
        )


def made_by(plan: Plan, part: str) -> list[Step]:
    """Return the steps that the flow of a part makes, inputs first: its own, and the results or tasks they need."""
    judges = {
        "soup": [plan.result(step, HELDOUT) for step in plan.candidates()],
        "evaluate": list(plan.tasks.values()),
    }
    made = {step.id for step in [*plan.steps_of(part), *judges.get(part, [])]}
    return [step for step in plan.steps if step.id in made]


def missing_results(plan: Plan, held: Snapshot) -> list[Step]:
    """Return the missing results of the models in the store, or of every revision of the plan's Hub repository."""
    missing: dict[str, Step] = {}
    for results in plan.evaluated().values():
        empty = [step for step in results.values() if step.id not in missing and held.peek(step) is None]
        if empty and (plan.repository is not None or held.peek(empty[0].inputs["model"]) is not None):
            missing |= {step.id: step for step in empty}
    return list(missing.values())


def to_make(plan: Plan, missing: list[Step]) -> list[Step]:
    """Return missing results, preceded by their tasks and, for a Hub repository, by their models and tokenizers."""
    roles = ("task", "model", "tokenizer") if plan.repository is not None else ("task",)
    sources = [step.inputs[role] for role in roles for step in missing if role in step.inputs]
    return list({step.id: step for step in [*sources, *missing]}.values())
