"""The proof of a soup: its ingredients, the digests of their tensors and of its own, and how they were averaged.

With `certificate.json`, anyone who has the ingredients can make the soup again and check that it is the same.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from olmo_core.artifact.job import Artifact
from olmo_core.model.config import WEIGHTS_FILE
from olmo_core.soup.average import Digests, mean_of
from olmo_core.soup.tensors import TensorFile

CERTIFICATE_FILE = "certificate.json"


class CertificateError(ValueError):
    """A soup, its certificate and its ingredients do not agree."""


class Ingredient(BaseModel):
    """One checkpoint that a soup is the mean of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name of its step, for people.")
    id: str = Field(description="Id of its step.")
    digest: str = Field(description="Digest of its record: the identity of its content.")
    tensors: dict[str, str] = Field(description="Tensor -> sha256 of its bytes.")


class Certificate(BaseModel):
    """The contents of `certificate.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field(description="How ingredients are weighted: uniform.")
    accumulation: str = Field(description="Type in which they are added, in the order listed: float64.")
    ingredients: list[Ingredient] = Field(description="In the order of addition, which is that of their digests.")
    tensors: dict[str, str] = Field(description="Tensor of the soup -> sha256 of its bytes.")


def certify(folder: Path, method: str, ingredients: Sequence[Artifact], digests: Mapping[str, Digests]) -> None:
    """Write the certificate of the soup in `folder`; `ingredients` are in the order of addition."""
    certificate = Certificate(
        method=method,
        accumulation="float64",
        ingredients=[
            Ingredient(
                name=artifact.step.name,
                id=artifact.step.id,
                digest=artifact.record.digest,
                tensors={name: tensor.ingredients[number] for name, tensor in digests.items()},
            )
            for number, artifact in enumerate(ingredients)
        ],
        tensors={name: tensor.mean for name, tensor in digests.items()},
    )
    (folder / CERTIFICATE_FILE).write_text(certificate.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_certificate(folder: Path) -> Certificate:
    """Return the certificate of the soup in `folder`.

    Raises:
        CertificateError: it is missing or cannot be read.
    """
    try:
        return Certificate.model_validate_json((folder / CERTIFICATE_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise CertificateError(f"{folder} has no readable certificate: {error}") from error


def verify(soup: Path, ingredients: Mapping[str, Path], threads: int = 1) -> Certificate:
    """Average `ingredients` (step id -> folder) again without writing, and compare every tensor.

    Raises:
        CertificateError: any digest differs; names the ingredient and the tensor.
    """
    certificate = read_certificate(soup)
    named = {entry.id: entry for entry in certificate.ingredients}
    if named.keys() != ingredients.keys():
        raise CertificateError(
            f"the certificate names the ingredients {sorted(named)}, not the given {sorted(ingredients)}; give those"
        )
    with ExitStack() as stack:
        files = {
            f"{entry.name}-{entry.id[:12]}": stack.enter_context(TensorFile(ingredients[entry.id] / WEIGHTS_FILE))
            for entry in certificate.ingredients
        }
        made = mean_of(files, threads)
        kept = mean_of({soup.name: stack.enter_context(TensorFile(soup / WEIGHTS_FILE))}, threads)
    for number, entry in enumerate(certificate.ingredients):
        _compare(f"ingredient {entry.name}", entry.tensors, {n: d.ingredients[number] for n, d in made.items()})
    _compare("the mean of the ingredients", certificate.tensors, {name: d.mean for name, d in made.items()})
    _compare("the soup", certificate.tensors, {name: d.ingredients[0] for name, d in kept.items()})
    return certificate


def _compare(what: str, certified: Mapping[str, str], found: Mapping[str, str]) -> None:
    for name in sorted(certified.keys() | found.keys()):
        if certified.get(name) != found.get(name):
            raise CertificateError(
                f"tensor {name} of {what} has the digest {found.get(name, 'none')}, "
                f"but {certified.get(name, 'none')} in the certificate"
            )
