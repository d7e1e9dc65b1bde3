"""Stage of a recipe: where training starts, mix, length, seeds, and changes to the model."""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, create_model, model_validator

from olmo_core.hub.names import RevisionNameConfig
from olmo_core.hub.pretrained import PretrainedConfig
from olmo_core.recipe.members import Members
from olmo_core.recipe.quantity import Count, parse_count
from olmo_core.recipe.section import Section
from olmo_core.train.config import TrainingConfig, TrainingSettings
from olmo_core.train.objectives.table import DEFAULT, OBJECTIVES

Seed = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
# The union is discriminated by type, so that an error refers to the variant the user wrote.
Start = Annotated[
    Annotated[str, Tag("tagged-reference")] | Annotated[PretrainedConfig, Tag("tagged-pretrained")],
    Discriminator(lambda value: "tagged-reference" if isinstance(value, str) else "tagged-pretrained"),
]


class SeedGroup(Section):
    """Runs of one stage that differ only in their seed."""

    seeds: tuple[Seed, ...] = Field(
        min_length=1, description="Seeds, one run each; the seed determines the order of the data."
    )
    mix: Name = Field(description="Mix to train on.")
    tokens: Count = Field(gt=0, description="Tokens of each run, rounded up to whole batches.")


class ModelChanges(Section):
    """Changes to the model a stage starts from; the weights themselves are not changed."""

    context_length: int | None = Field(None, ge=2, description="Longest sequence in tokens; unchanged if not given.")
    rope_theta: float | None = Field(
        None, gt=0, description="Base of the rotary position frequencies; unchanged if not given."
    )

    @property
    def given(self) -> dict[str, Any]:
        """The fields that are changed."""
        return self.model_dump(exclude_none=True)


class Stage(TrainingSettings):
    """A stage of training: one run, or several seeded runs from the same checkpoint.

    `STAGES` has a subclass per objective, which adds the fields of that objective.
    """

    start: Start | None = Field(
        None,
        description="Checkpoint the stage starts from: `STAGE` (its end), `STAGE@STEP`, `STAGE/K` (ingredient K), a "
        "soup, or a model trained elsewhere; fresh weights if not given.",
    )
    model: ModelChanges = Field(
        default_factory=ModelChanges,
        description="Changes to the model the stage starts from.",
    )
    mix: Name | None = Field(None, description="Mix to train on, for a stage without `groups`.")
    tokens: Count | None = Field(
        None, gt=0, description="Tokens of each run, rounded up to whole batches, for a stage without `groups`."
    )
    seeds: tuple[Seed, ...] | None = Field(
        None, min_length=1, description="Seeds, one run each, for a stage without `groups`."
    )
    groups: tuple[SeedGroup, ...] = Field((), description="Groups of seeds, each with its own mix and length.")
    names: RevisionNameConfig = Field(
        default_factory=RevisionNameConfig, description="How the revisions of the stage are named."
    )

    @model_validator(mode="before")
    @classmethod
    def _counts_of_the_schedule(cls, values: Any) -> Any:
        """Accept token counts in a schedule in the same notation as in a stage: `60K`."""
        schedule = values.get("schedule") if isinstance(values, dict) else None
        if not isinstance(schedule, dict):
            return values
        counts = {name: parse_count(schedule[name]) for name in ("warmup", "decay", "horizon") if name in schedule}
        return {**values, "schedule": {**schedule, **counts}}

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        single = {"mix": self.mix, "tokens": self.tokens, "seeds": self.seeds}
        given = sorted(name for name, value in single.items() if value is not None)
        if self.groups and given:
            raise ValueError(f"{', '.join(given)} and groups exclude each other; put them into the groups")
        if not self.groups and len(given) < len(single):
            missing = sorted(single.keys() - set(given))
            raise ValueError(f"{', '.join(missing)} required; give them, or give groups")
        for group in self.all_groups:
            if twice := sorted({seed for seed in group.seeds if group.seeds.count(seed) > 1}):
                raise ValueError(f"seeds names {twice[0]} more than once; equal seeds give the same run; keep one")
        return self

    @property
    def all_groups(self) -> tuple[SeedGroup, ...]:
        """The groups of seeds, in order."""
        if self.groups:
            return self.groups
        assert self.mix is not None and self.tokens is not None and self.seeds is not None
        return (SeedGroup(seeds=self.seeds, mix=self.mix, tokens=self.tokens),)

    def runs(self) -> Iterator[tuple[int, int, SeedGroup]]:
        """Yield (ingredient number from 1, seed, group) of every run."""
        number = 0
        for group in self.all_groups:
            for seed in group.seeds:
                number += 1
                yield number, seed, group

    def training(self, seed: int, group: SeedGroup) -> TrainingConfig:
        """Return the training configuration of one run."""
        objective = OBJECTIVES[self.objective]
        shared = self.model_dump(include=set(objective.model_fields) - {"seed", "tokens"})
        return objective.model_validate({**shared, "seed": seed, "tokens": group.tokens})


def _stage_of(objective: type[TrainingConfig]) -> type[Stage]:
    """Return the stage class of an objective: `Stage` plus the fields that the objective adds to a run."""
    added: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in objective.model_fields.items()
        if name not in TrainingConfig.model_fields or name == "objective"
    }
    return create_model(f"{objective.__name__}Stage", __base__=Stage, __doc__=Stage.__doc__, **added)


STAGES = {name: _stage_of(objective) for name, objective in OBJECTIVES.items()}
AnyStage = Annotated[Stage, Members("objective", STAGES, DEFAULT)]
