"""Step `soup`: checkpoints in, their mean and its proof out.

Ingredients are added in the order of their record digests, so neither their order nor their roles can change a byte.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.model.config import CONFIG_FILE, WEIGHTS_FILE
from olmo_core.soup.average import average
from olmo_core.soup.certificate import certify

SOUP_VERSION = 1


class SoupConfig(BaseModel):
    """How ingredients become one checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["uniform"] = Field(
        "uniform", description="`uniform` weights all ingredients equally, as OLMo 2 did."
    )


def soup_step(config: SoupConfig, ingredients: Mapping[str, Step], name: str = "soup") -> Step:
    """Return the step that averages `ingredients` (role -> checkpoint or soup).

    Raises:
        ValueError: fewer than two ingredients, or one of them twice.
    """
    by_id: dict[str, str] = {}
    for role, step in sorted(ingredients.items()):
        if step.id in by_id:
            raise ValueError(f"{role} and {by_id[step.id]} are the same checkpoint {step.label}; take one of them out")
        by_id[step.id] = role
    if len(by_id) < 2:
        raise ValueError(f"a soup needs at least two ingredients, {name} has {len(by_id)}; add seeds or leave it out")
    return Step("soup", name, SOUP_VERSION, config.model_dump(mode="json"), dict(ingredients), make_soup)


def make_soup(job: Job) -> dict[str, Any]:
    """Write `model.safetensors`, `model.json` and `certificate.json`."""
    config = SoupConfig.model_validate(job.fields)
    ingredients = sorted(job.inputs.values(), key=lambda artifact: artifact.record.digest)
    (job.out / CONFIG_FILE).write_bytes(_common_model(ingredients))
    digests = average(
        {artifact.step.folder: artifact.path for artifact in ingredients},
        job.out / WEIGHTS_FILE,
        job.placement.threads,
        lambda done, total: job.progress(done, total, "bytes"),
    )
    certify(job.out, config.method, ingredients, digests)
    return {"ingredients": len(ingredients), "tensors": len(digests)}


def _common_model(ingredients: Sequence[Artifact]) -> bytes:
    """The model config all ingredients share."""
    first = (ingredients[0].path / CONFIG_FILE).read_bytes()
    for other in ingredients[1:]:
        if json.loads((other.path / CONFIG_FILE).read_bytes()) != json.loads(first):
            raise ValueError(
                f"{CONFIG_FILE} of {other.step.label} differs from that of {ingredients[0].step.label}; "
                "ingredients must be of one model"
            )
    return first
