"""The step `pretrained`: weights that were trained elsewhere, as a checkpoint of ours that a stage can start from.

Light: planning imports this file. The work is in `download`.
"""

import re
from pathlib import PurePath
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from olmo_core.artifact.identity import Step

PRETRAINED_VERSION = 1


class PretrainedConfig(BaseModel):
    """A model on the Hub at one commit, or in a folder of one content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repo: str | None = Field(
        None, description="`organisation/name` on the Hub.", pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$"
    )
    revision: str | None = Field(None, description="Commit of that repository, 40 hex digits; a branch would move.")
    path: str | None = Field(
        None,
        min_length=1,
        description="Folder on this machine: one transformers can load, or an artifact of ours that holds a model.",
    )
    sha256: str | None = Field(
        None,
        description="Digest of that folder, as printed by `sha256sum FILES | sha256sum` run in it, its files in the "
        "order of their names: config.json, *.safetensors, the index and tokenizer.json where there are any.",
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


def pretrained_step(config: PretrainedConfig) -> Step:
    """The step whose artifact is the model as `model.json` and `model.safetensors`: weights without moments or rate."""
    if config.repo is not None and config.revision is not None:
        name = f"{config.repo.partition('/')[2]}-{config.revision[:10]}"
    else:
        name = re.sub(r"[^\w.-]+", "-", PurePath(str(config.path)).name).lstrip(".-") or "model"
    return Step(
        kind="pretrained",
        name=name,
        version=PRETRAINED_VERSION,
        fields=config.model_dump(mode="json", exclude_none=True),
        work="olmo_core.hub.download:take_pretrained",
    )
