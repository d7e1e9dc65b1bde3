"""The plan of a release: every step that a recipe implies, with its id, before anything runs.

`layout` builds it. The store determines which steps have to run; the flows determine where and in which order.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from olmo_core.artifact.identity import Step, canonical, closure
from olmo_core.model.config import ModelConfig
from olmo_core.recipe.compute import Compute, Workers
from olmo_core.recipe.kinds import STAGE, Lane, kind_called
from olmo_core.recipe.recipe import Recipe
from olmo_core.recipe.stage import SeedGroup
from olmo_core.train.config import TrainingConfig


@dataclass(frozen=True)
class Run:
    """One seeded run of a stage; `checkpoints` maps training steps to the checkpoints it will commit."""

    stage: str
    ingredient: int | None
    seed: int
    group: SeedGroup
    config: TrainingConfig
    model: ModelConfig
    step: Step
    checkpoints: dict[int, Step]

    @property
    def end(self) -> Step:
        """The last checkpoint of the run."""
        return self.checkpoints[max(self.checkpoints)]


@dataclass(frozen=True)
class Revision:
    """A name on the Hub and the step that makes its content."""

    name: str
    step: Step


class UnknownStepError(KeyError):
    """A label matches no step of the plan, or several."""


@dataclass
class Plan:
    """All steps of a release, built by `layout`.

    Attributes:
        tasks: the tasks of the suite, by group.
        results: id of a model -> group -> result; a group is a task or all held-out text (`HELDOUT`).
        repository: Hub repository whose revisions are evaluated in place of the release's models, if any.
        published: name of a revision of that repository -> group -> result.
    """

    recipe: Recipe
    packages: dict[str, Step] = field(default_factory=dict)
    documents: dict[str, Step] = field(default_factory=dict)
    corpora: dict[str, Step] = field(default_factory=dict)
    tokens: dict[str, Step] = field(default_factory=dict)
    mixes: dict[tuple[str, int, int], Step] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    soups: dict[str, Step] = field(default_factory=dict)
    tasks: dict[str, Step] = field(default_factory=dict)
    results: dict[str, dict[str, Step]] = field(default_factory=dict)
    exports: dict[str, Step] = field(default_factory=dict)
    revisions: list[Revision] = field(default_factory=list)
    repository: str | None = None
    published: dict[str, dict[str, Step]] = field(default_factory=dict)
    tokenizer: Step = field(init=False)
    decision: Step = field(init=False)

    @cached_property
    def id(self) -> str:
        """Identity of the release: the ids of its revisions, and the repository if the plan evaluates one."""
        parts = [each.step.id for each in self.revisions]
        if self.repository is not None:
            parts.append(self.repository)
        return hashlib.sha256(canonical(sorted(parts)).encode()).hexdigest()

    @cached_property
    def steps(self) -> list[Step]:
        """Every step once, inputs first."""
        ends = [self.decision, *(each.step for each in self.revisions)]
        results = [step for own in (*self.results.values(), *self.published.values()) for step in own.values()]
        return list(closure([*ends, *results]))

    @cached_property
    def _by_label(self) -> dict[str, Step]:
        return {step.label: step for step in self.steps}

    def step(self, label: str) -> Step:
        """Return the step with this label, id prefix (six characters or more) or name.

        Raises:
            UnknownStepError: no step matches, or several do; names the nearest.
        """
        if label in self._by_label:
            return self._by_label[label]
        import difflib

        found = [step for step in self.steps if len(label) >= 6 and step.id.startswith(label)]
        found = found or [step for step in self.steps if step.name == label]
        if len(found) == 1:
            return found[0]
        near = difflib.get_close_matches(label, self._by_label, 3, 0.4) or sorted(self._by_label)
        raise UnknownStepError(f"no step is called {label!r}; nearest: {', '.join(near)}")

    @property
    def parts(self) -> list[str]:
        """The parts of a release in order of dependency; each has its own flow."""
        return ["data", *self.runs, "soup", "evaluate", "publish"]

    def part_of(self, step: Step) -> str:
        """Return the part that adds a step to the store."""
        part = kind_called(step.kind).part
        return self.run_of(step).stage if part == STAGE else part

    def steps_of(self, part: str) -> list[Step]:
        """Return the steps that a part adds to the store, inputs first."""
        if part in self.runs:
            return [each for run in self.runs[part] for each in (run.step, *run.checkpoints.values())]
        return [step for step in self.steps if kind_called(step.kind).part == part]

    def result(self, model: Step, group: str) -> Step:
        """Return the result of a model on one group."""
        return self.results[model.id][group]

    def results_of(self, model: Step) -> dict[str, Step]:
        """Return the results of a model by group."""
        return self.results[model.id]

    def evaluated(self) -> dict[str, dict[str, Step]]:
        """Return name -> group -> result of the models that reports compare, or of the repository's if there is one."""
        if self.repository is not None:
            return self.published
        return {step.name: self.results_of(step) for step in [*self.checkpoints(), *self.soups.values()]}

    def checkpoints(self) -> list[Step]:
        """Return every checkpoint of every run, in the order of stages, ingredients and training steps."""
        return [step for runs in self.runs.values() for run in runs for step in run.checkpoints.values()]

    def pretrained(self) -> list[Step]:
        """Return every model trained elsewhere that a stage starts from."""
        starts = (run.step.inputs.get("start") for runs in self.runs.values() for run in runs)
        return list({step.id: step for step in starts if step is not None and step.kind == "pretrained"}.values())

    def candidates(self) -> list[Step]:
        """Return the checkpoints and soups that may become main."""
        return [step for role, step in self.decision.inputs.items() if role.startswith("candidate/")]

    def run_of(self, step: Step) -> Run:
        """Return the run that a `run` or `checkpoint` step belongs to."""
        source = step.inputs["run"] if kind_called(step.kind).lane is Lane.PARENT else step
        return next(run for runs in self.runs.values() for run in runs if run.step.id == source.id)

    def judged_on(self, run: Run) -> list[str]:
        """Return the corpora of a run's mix whose held-out text its checkpoints are scored on."""
        return sorted(self.recipe.mixes[run.group.mix].weights.keys() & set(self.recipe.scored))

    def workers(self, step: Step, compute: Compute) -> Workers:
        """Return the workers that a `run` step trains on."""
        alone = len(self.runs[self.run_of(step).stage]) == 1
        return compute.training.single if alone else compute.training.seeds

    def tags(self, step: Step) -> list[str]:
        """Return tags to find a step by in a dashboard: stage and seed, for steps that belong to a run."""
        if kind_called(step.kind).part == STAGE:
            run = self.run_of(step)
            return [run.stage, f"seed {run.seed}"]
        model = step.inputs.get("model")
        return self.tags(model) if model is not None else []
