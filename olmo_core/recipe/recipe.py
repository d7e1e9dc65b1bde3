"""Recipe: what a release is. Every field bears identity: change one and what depends on it is another artifact.

Where and how it runs is said by `profile`; the steps that follow from a recipe are laid out by `plan`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from olmo_core.documents.corpus import CorpusConfig
from olmo_core.documents.package import PackageConfig
from olmo_core.evaluate.step import EvaluationConfig
from olmo_core.evaluate.task import SuiteConfig
from olmo_core.hub.card import CardConfig
from olmo_core.hub.names import RevisionNameConfig
from olmo_core.hub.pretrained import PretrainedConfig
from olmo_core.model.config import ModelConfig, preset
from olmo_core.recipe.overrides import ConfigError, apply_overrides, faults, find_yaml, merge, read_yaml, validate
from olmo_core.recipe.places import placed
from olmo_core.recipe.quantity import Count, parse_count
from olmo_core.soup.decision import DecisionConfig
from olmo_core.soup.step import SoupConfig
from olmo_core.tokens.mix import MixConfig
from olmo_core.tokens.published import TokenFilesConfig
from olmo_core.tokens.tokenizer import BpeConfig, TokenizerConfig
from olmo_core.train.config import TrainingConfig, TrainingSettings

BUILTIN = Path(__file__).parent / "recipes"

Seed = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
# Told apart by their form, so that a fault is told of the one that was meant.
Start = Annotated[
    Annotated[str, Tag("tagged-reference")] | Annotated[PretrainedConfig, Tag("tagged-pretrained")],
    Discriminator(lambda value: "tagged-reference" if isinstance(value, str) else "tagged-pretrained"),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SeedGroup(_Section):
    """Runs of one stage that differ only by their seed."""

    seeds: tuple[Seed, ...] = Field(min_length=1, description="One run a seed; the seed decides the data order.")
    mix: Name = Field(description="Mix the runs train on.")
    tokens: Count = Field(gt=0, description="Tokens of each run.")


class Stage(TrainingSettings):
    """A stage of training: one run, or several seeded runs from the same checkpoint."""

    start: Start | None = Field(
        None,
        description="Checkpoint it starts from: a stage (its end), `stage@step`, `stage/k` (ingredient k), a soup, or "
        "a model trained elsewhere.",
    )
    mix: Name | None = Field(None, description="Mix, where the stage has one group of seeds.")
    tokens: Count | None = Field(None, gt=0, description="Tokens of each run, where the stage has one group of seeds.")
    seeds: tuple[Seed, ...] | None = Field(None, min_length=1, description="Seeds, where the stage has one group.")
    groups: tuple[SeedGroup, ...] = Field((), description="Several groups of seeds, each with its own mix and length.")
    names: RevisionNameConfig = Field(default_factory=RevisionNameConfig, description="How its revisions are named.")

    @model_validator(mode="before")
    @classmethod
    def _counts_of_the_schedule(cls, values: Any) -> Any:
        """Let the tokens of a schedule be written as those of a stage are: `60K`."""
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
            raise ValueError(f"{', '.join(missing)} required, unless the stage has groups")
        for group in self.all_groups:
            if twice := sorted({seed for seed in group.seeds if group.seeds.count(seed) > 1}):
                raise ValueError(f"seeds names {twice[0]} more than once; two runs of one seed are the same run")
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
        """Return how one run trains."""
        shared = self.model_dump(include=set(TrainingSettings.model_fields))
        return TrainingConfig.model_validate({**shared, "seed": seed, "tokens": group.tokens})


class Soup(SoupConfig):
    """A mean of checkpoints."""

    ingredients: tuple[str, ...] = Field(
        min_length=1,
        description="Checkpoints: a stage (the ends of all its runs), `stage/k`, `stage/k@step`, or another soup.",
    )


class Release(_Section):
    """What the release calls `main`, and how its weights are published."""

    candidates: tuple[str, ...] = Field(
        min_length=1, description="What may become main: a soup (its ingredients then compete too), or a stage."
    )
    decision: DecisionConfig = Field(default_factory=DecisionConfig, description="How main is chosen.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the published weights.")
    card: CardConfig = Field(description="What the model cards say about the release.")


class Evaluation(_Section):
    """What every checkpoint is evaluated on."""

    suite: SuiteConfig = Field(description="Downstream tasks.")
    package: str | None = Field(None, description="Package that holds the tasks; the built-in ones when not given.")
    heldout: tuple[str, ...] | None = Field(
        None, description="Corpora whose held-out part is scored; all that have one by default."
    )
    scoring: EvaluationConfig = Field(default_factory=EvaluationConfig, description="How it is scored.")


class Recipe(_Section):
    """What a release is: corpora, tokenizer, mixes, model, stages, soups and what is published."""

    name: Name = Field(description="Name of the release, in paths, repositories and dashboards.")
    description: str = Field("", description="One sentence for people.")
    model: dict[str, Any] = Field(description="`preset: name`, with any field of the model's config beside it.")
    packages: dict[Name, PackageConfig] = Field(default_factory=dict, description="Pinned archives that are read.")
    tokenizer: TokenizerConfig = Field(description="Tokenizer, trained or taken.")
    tokenizer_corpora: tuple[str, ...] | None = Field(None, description="Corpora it is trained on; all by default.")
    corpora: dict[Name, CorpusConfig] = Field(min_length=1, description="Corpora by name.")
    token_files: dict[Name, TokenFilesConfig] = Field(
        default_factory=dict, description="Corpora by name that come as token files, made with the tokenizer elsewhere."
    )
    mixes: dict[Name, MixConfig] = Field(min_length=1, description="Mixes by name.")
    mix_seed: int = Field(0, ge=0, description="Decides which part of a corpus a mix takes when it takes not all.")
    stages: dict[Name, Stage] = Field(min_length=1, description="Stages by name, in the order they are shown.")
    soups: dict[Name, Soup] = Field(default_factory=dict, description="Soups by name.")
    evaluation: Evaluation = Field(description="What every checkpoint is evaluated on.")
    release: Release = Field(description="What is published as main, and under which names.")

    @property
    def shape(self) -> ModelConfig:
        """Shape of the model; its vocabulary is the tokenizer's."""
        changes = {key: value for key, value in self.model.items() if key != "preset"}
        changes["vocab_size"] = self.tokenizer.vocab_size
        if "preset" in self.model:
            return preset(str(self.model["preset"]), **changes)
        return ModelConfig.model_validate(changes)

    @property
    def scored(self) -> tuple[str, ...]:
        """Corpora whose held-out part is scored."""
        return self.evaluation.heldout or tuple(name for name, corpus in self.corpora.items() if corpus.heldout)

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        try:
            model = self.shape
        except ValidationError as error:
            raise ValueError("; ".join(faults(ModelConfig, error, "model."))) from None
        for name, files in self.token_files.items():
            if isinstance(self.tokenizer, BpeConfig) and files.list_url is not None:
                raise ValueError(f"token_files.{name}: not made with a tokenizer trained here; take dolma2 or dolma1")
            if name in self.corpora:
                raise ValueError(f"token_files.{name}: a corpus is called {name} too; give them different names")
        for name, mix in self.mixes.items():
            _known(f"mixes.{name}.weights", mix.weights, [*self.corpora, *self.token_files])
        _known("tokenizer_corpora", self.tokenizer_corpora or (), self.corpora)
        _known("evaluation.heldout", self.evaluation.heldout or (), self.corpora)
        for name in self.scored:
            if not self.corpora[name].heldout:
                raise ValueError(
                    f"evaluation.heldout: corpora.{name}.heldout is 0, nothing of it is set apart; leave it out"
                )
        if not self.scored:
            raise ValueError("corpora: heldout is 0 for all; give one a share above 0, its text decides what main is")
        _known("evaluation.package", [self.evaluation.package] if self.evaluation.package else [], self.packages)
        checkpoints = [*self.stages, *self.soups]
        for name, stage in self.stages.items():
            for group in stage.all_groups:
                _known(f"stages.{name}.mix", [group.mix], self.mixes)
            if stage.sequence_length > model.context_length:
                raise ValueError(
                    f"stages.{name}.sequence_length {stage.sequence_length} is longer than the model's "
                    f"context_length {model.context_length}; give at most that"
                )
            if isinstance(stage.start, str):
                _known(f"stages.{name}.start", [reference(stage.start)[0]], checkpoints)
        for name, soup in self.soups.items():
            _known(f"soups.{name}.ingredients", [reference(each)[0] for each in soup.ingredients], checkpoints)
        _known("release.candidates", [reference(each)[0] for each in self.release.candidates], checkpoints)
        return self


def reference(text: str) -> tuple[str, int | None, int | None]:
    """Return (stage or soup, ingredient, step) of a reference such as `stage2/1@400`.

    Raises:
        ValueError: the text is no reference.
    """
    match = re.fullmatch(r"([a-z0-9_-]+)(?:/([1-9][0-9]*))?(?:@([1-9][0-9]*))?", text)
    if match is None:
        raise ValueError(f"{text!r} names no checkpoint; write stage, stage/ingredient, stage@step or a soup's name")
    return match[1], int(match[2]) if match[2] else None, int(match[3]) if match[3] else None


def _known(field: str, names: Any, known: Any) -> None:
    import difflib

    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, list(known), 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            raise ValueError(f"{field}: nothing is called {name!r}; {hint}")


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe:
    """Return a built-in recipe by name, or one from a YAML file by path, with `--a.b=c` laid over it.

    A file may begin with `base: name`, a built-in or a file (relative to its own), and then says what differs.
    Relative paths start from the folder of the file that names them, in overrides from the current folder.

    Raises:
        ConfigError: there is no such recipe, its bases form a loop, or it does not validate.
    """
    path = find_yaml(name, BUILTIN, "recipe")
    values = apply_overrides({**_read(path), "name": path.stem}, overrides or [])
    return validate(Recipe, placed(values, Path.cwd()), f"recipe {name}")


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the fields of a file laid over those of its base, that of its own base, and so on."""
    chain = (*above, path.resolve())
    if chain[-1] in above:
        raise ConfigError(f"{path}: base: {' is based on '.join(each.name for each in chain)}; end the loop")
    values = placed(read_yaml(path), path.parent)
    if (given := values.pop("name", path.stem)) != path.stem:
        raise ConfigError(f"{path}: name: {given}: a recipe is called as its file; rename the file")
    base = values.pop("base", None)
    if base is None:
        return values
    return merge(_read(find_yaml(str(base), BUILTIN, f"{path}: base", path.parent), chain), values)
