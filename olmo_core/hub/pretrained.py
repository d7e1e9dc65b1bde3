"""The step `pretrained`: weights that were trained elsewhere, as a checkpoint of ours that a stage can start from.

With one on the Hub comes its tokenizer, as a step of its own. Light: planning imports this file. The work is in
`download` and `tokenizer`.
"""

import re
from pathlib import PurePath
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from olmo_core.artifact.identity import Step
from olmo_core.artifact.imports import swift_imports
from olmo_core.artifact.job import Job, Work
from olmo_core.hub.names import REPOSITORY

PRETRAINED_VERSION = 1
PRETRAINED_TOKENIZER_VERSION = 2


class PretrainedConfig(BaseModel):
    """A model trained elsewhere: `repo` and `revision` on the Hub, or `path` and `sha256` of a folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repo: str | None = Field(None, description="`organisation/name` on the Hub.", pattern=REPOSITORY)
    revision: str | None = Field(None, description="Commit of that repository, 40 hex digits; branches move.")
    path: str | None = Field(
        None,
        min_length=1,
        description="Folder on this machine: one that transformers can load, or an artifact that holds a model.",
    )
    sha256: str | None = Field(
        None,
        description="Digest of that folder: what `sha256sum FILES | sha256sum` prints in it, with FILES in the order "
        "of their names: config.json, *.safetensors, and the index and tokenizer.json if present.",
        pattern=r"^[0-9a-f]{64}$",
    )

    @field_validator("revision")
    @classmethod
    def _commit(cls, revision: str | None) -> str | None:
        if revision is not None and not re.fullmatch(r"[0-9a-f]{40}", revision):
            raise ValueError("a branch moves; give the id of the commit, 40 hex digits")
        return revision

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = set(self.model_dump(exclude_none=True))
        if given not in ({"repo", "revision"}, {"path", "sha256"}):
            raise ValueError(f"has {', '.join(sorted(given)) or 'nothing'}; give repo and revision, or path and sha256")
        return self


def pretrained_step(config: PretrainedConfig, name: str | None = None) -> Step:
    """The step whose artifact is the model as `model.json` and `model.safetensors`: weights without moments or rate."""
    return _step("pretrained", PRETRAINED_VERSION, config, name, _import_pretrained)


def _import_pretrained(job: Job) -> dict[str, Any]:
    with swift_imports():
        from olmo_core.hub.import_model import import_pretrained
    return import_pretrained(job)


def pretrained_tokenizer_step(config: PretrainedConfig, name: str | None = None) -> Step:
    """The step whose artifact is the tokenizer that a commit of the Hub holds beside the model."""
    return _step("tokenizer", PRETRAINED_TOKENIZER_VERSION, config, name, _import_tokenizer)


def _import_tokenizer(job: Job) -> dict[str, Any]:
    with swift_imports():
        from olmo_core.hub.import_tokenizer import import_tokenizer
    return import_tokenizer(job)


def _step(kind: str, version: int, config: PretrainedConfig, name: str | None, work: Work) -> Step:
    return Step(kind, name or _name(config), version, config.model_dump(mode="json", exclude_none=True), {}, work)


def _name(config: PretrainedConfig) -> str:
    if config.repo is not None and config.revision is not None:
        return f"{config.repo.partition('/')[2]}-{config.revision[:10]}"
    return re.sub(r"[^\w.-]+", "-", PurePath(str(config.path)).name).lstrip(".-") or "model"
