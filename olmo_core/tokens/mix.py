"""A mix: how many instances of each corpus a stage trains on, given a budget of tokens and weights.

An instance is `sequence_length` consecutive tokens of one token file; the remainder at the end of a file is counted but
not used. Each corpus has its own order of instances, and starts again when the budget exceeds its size. `mix.json`
contains counts and a seed but no list of instances, so its size does not grow with the data. `loader` determines the
order in which a run sees the mix.
"""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.tokens.permutation import Permutation
from olmo_core.tokens.token_file import TokenFile, read_token_files

MIX_VERSION = 1
MIX_FILE = "mix.json"
REPORT_FILE = "report.json"


class MixError(ValueError):
    """A mix that cannot be made from the corpora it names."""


class MixConfig(BaseModel):
    """Which corpora are mixed, and in which proportion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: dict[str, float] = Field(
        description="Corpus → weight. Its share of the tokens is its weight over the sum of all.", min_length=1
    )
    # Up to four passes are nearly as good as fresh text (Muennighoff et al. 2023, arXiv 2305.16264).
    max_epochs: float | dict[str, float] = Field(
        4.0, description="Maximum number of passes over a corpus: for all, or by corpus (1 for those not named)."
    )


class MixFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A token file of a mix: its input, its name in the tokens artifact, and its numbers of tokens and instances."""

    input: str
    file: str
    tokens: int
    instances: int
    label_mask: str | None = None
    ends: str | None = None


class MixSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A corpus of a mix: the number of instances it contributes, and its files."""

    corpus: str
    instances: int
    files: list[MixFile]

    @property
    def available(self) -> int:
        """Number of instances in its files."""
        return sum(file.instances for file in self.files)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of `mix.json`; `dtype` and `vocab_size` are those of the token files."""

    sequence_length: int
    seed: int
    dtype: str
    vocab_size: int
    sources: list[MixSource]

    @property
    def instances(self) -> int:
        """Number of instances of the whole mix."""
        return sum(source.instances for source in self.sources)


def mix_step(
    name: str, config: MixConfig, tokens: int, sequence_length: int, seed: int, inputs: Mapping[str, Step]
) -> Step:
    """Return the step that mixes `inputs` (`corpus/shard` -> tokens step) to a budget of `tokens`.

    Raises:
        MixError: weights and inputs name different corpora, a weight is not positive, or the inputs were made with
            different tokenizers.
    """
    corpora = {role.rpartition("/")[0] for role in inputs}
    if corpora != set(config.weights):
        raise MixError(
            f"mix {name}: weights name {sorted(config.weights)}, the token files come from {sorted(corpora)}; "
            "give each corpus one weight"
        )
    if isinstance(config.max_epochs, dict) and (unknown := set(config.max_epochs) - corpora):
        raise MixError(
            f"mix {name}: max_epochs names {sorted(unknown)}, which are not in weights; give only {sorted(corpora)}"
        )
    for corpus, weight in config.weights.items():
        if not (math.isfinite(weight) and weight > 0):
            raise MixError(f"mix {name}: weights.{corpus} is {weight}; give a positive number or leave the corpus out")
    if len({step.inputs["tokenizer"].id for step in inputs.values()}) > 1:
        raise MixError(f"mix {name}: its token files were made with different tokenizers; use one tokenizer for all")
    return Step(
        kind="mix",
        name=name,
        version=MIX_VERSION,
        fields=config.model_dump(mode="json") | {"tokens": tokens, "sequence_length": sequence_length, "seed": seed},
        inputs=dict(inputs),
        work=make_mix,
    )


def make_mix(job: Job) -> dict[str, Any]:
    """Write `mix.json` and `report.json`; return the report.

    Raises:
        MixError: a corpus would be repeated more often than allowed; the message names what would fit.
    """
    fields = job.fields
    budget, length = int(fields["tokens"]), int(fields["sequence_length"])
    config = MixConfig(weights=fields["weights"], max_epochs=fields["max_epochs"])
    held = {role: read_token_files(job.inputs[role].path) for role in sorted(job.inputs)}
    shares = _apportion(math.ceil(budget / length), config.weights)
    sources = [MixSource(corpus, shares[corpus], _files(corpus, held, length)) for corpus in sorted(shares)]
    _check_epochs(job.step.name, sources, config, length)
    dtype, vocab_size = _one_format(job.step.name, held)
    manifest = Manifest(length, int(fields["seed"]), dtype, vocab_size, [s for s in sources if s.instances])
    (job.out / MIX_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    report = _report(manifest, sources, config, held)
    (job.out / REPORT_FILE).write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    return report


def _apportion(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Divide `total` by weight into integers that sum to it (largest remainder method; ties are broken by name)."""
    whole = math.fsum(weights.values())
    exact = {name: total * weight / whole for name, weight in weights.items()}
    given = {name: math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (given[name] - exact[name], name))
    for name in by_remainder[: total - sum(given.values())]:
        given[name] += 1
    return given


def _files(corpus: str, held: Mapping[str, list[TokenFile]], length: int) -> list[MixFile]:
    roles = [role for role in held if role.rpartition("/")[0] == corpus]
    roles.sort(key=lambda role: int(role.rpartition("/")[2]))
    return [
        MixFile(role, file.file, file.tokens, file.tokens // length, file.label_mask, file.ends)
        for role in roles
        for file in held[role]
    ]


def _check_epochs(name: str, sources: list[MixSource], config: MixConfig, length: int) -> None:
    given = [source for source in sources if source.instances]
    fits = {source.corpus: math.floor(source.available * _allowed(config, source.corpus)) for source in given}
    # Corpora of which nothing fits come first: for the others, the remedy is computed over all corpora.
    for source in sorted(given, key=lambda each: fits[each.corpus] > 0):
        if source.instances <= fits[source.corpus]:
            continue
        held = source.available * length
        has = f"mix {name}: corpus {source.corpus} has {held:,} tokens in whole instances of {length}"
        if not fits[source.corpus]:
            raise MixError(f"{has}; leave it out, give a shorter sequence_length, or more text")
        alike = given if isinstance(config.max_epochs, float) else [source]
        hundredths = max(-(-100 * each.instances // each.available) for each in alike)
        raise MixError(
            f"{has} and would supply {source.instances * length:,}, more than the "
            f"{float(_allowed(config, source.corpus)):g} epochs that max_epochs allows; what would fit: "
            f"{_most(given, config, fits) * length:,} tokens in whole batches, or max_epochs of "
            f"{Decimal(hundredths) / 100}, or a weight below {config.weights[source.corpus]:g}"
        )


def _allowed(config: MixConfig, corpus: str) -> Fraction:
    """Return the allowed passes over a corpus as an exact decimal: 1.15 times 100 instances are 115, not 114."""
    allowed = config.max_epochs if isinstance(config.max_epochs, float) else config.max_epochs.get(corpus, 1.0)
    return Fraction(repr(allowed))


def _most(sources: list[MixSource], config: MixConfig, fits: Mapping[str, int]) -> int:
    """Return the largest number of instances that the mix can have."""
    whole = sum(source.instances for source in sources)
    total = min(whole * fits[each.corpus] // each.instances for each in sources)
    while any(share > fits.get(corpus, share) for corpus, share in _apportion(total, config.weights).items()):
        total -= 1
    return total


def _one_format(name: str, held: Mapping[str, list[TokenFile]]) -> tuple[str, int]:
    formats = {(file.dtype, file.vocab_size): role for role, files in held.items() for file in files}
    if len(formats) != 1:
        listed = ", ".join(f"{role}: {dtype}, vocabulary {vocab_size}" for (dtype, vocab_size), role in formats.items())
        raise MixError(f"mix {name}: its token files have different formats ({listed}); write them all in one")
    return next(iter(formats))


def _report(
    manifest: Manifest, sources: list[MixSource], config: MixConfig, held: Mapping[str, list[TokenFile]]
) -> dict[str, Any]:
    length, whole = manifest.sequence_length, math.fsum(config.weights.values())
    rows = [
        {
            "corpus": source.corpus,
            "share_asked": config.weights[source.corpus] / whole,
            "share_given": source.instances / manifest.instances,
            "tokens": source.instances * length,
            "epochs": source.instances / source.available if source.available else 0.0,
            "tokens_available": sum(file.tokens for file in source.files),
            "tokens_left_at_file_ends": sum(file.tokens % length for file in source.files),
            "documents": _documents(source, held),
        }
        for source in sources
    ]
    return {"tokens": manifest.instances * length, "instances": manifest.instances, "sources": rows}


def _documents(source: MixSource, held: Mapping[str, list[TokenFile]]) -> int | None:
    roles = sorted({file.input for file in source.files})
    counts = [file.documents for role in roles for file in held[role]]
    return None if None in counts else sum(count or 0 for count in counts)


class Mix:
    """A mix as the loader reads it: maps the number of an instance to its file and row."""

    def __init__(self, folder: Path) -> None:
        try:
            self.manifest = msgspec.json.decode((folder / MIX_FILE).read_bytes(), type=Manifest)
        except msgspec.DecodeError as error:
            raise MixError(f"{folder / MIX_FILE} is not a mix: {error}; make the mix again") from error
        sources = self.manifest.sources
        self.files = [file for source in sources for file in source.files]
        self._ends = np.cumsum([source.instances for source in sources])
        self._orders = [
            Permutation(source.available, f"mix/{self.manifest.seed}/{source.corpus}") for source in sources
        ]
        self._first_row = np.cumsum([0] + [source.available for source in sources])
        self._file_starts = np.cumsum([0] + [file.instances for file in self.files])

    def __len__(self) -> int:
        """Number of instances of the mix."""
        return self.manifest.instances

    def locate(self, instances: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return each instance's index into `files` and row there; `instances`: (n,), each in `range(len(self))`.

        The n-th instance of a corpus is the n-th of its own order; after the last, the order starts again.
        """
        source = np.searchsorted(self._ends, instances, side="right")
        rows = np.empty_like(instances)
        for index in set(source.tolist()):
            mine = source == index
            begin = self._ends[index] - self.manifest.sources[index].instances
            order = self._orders[index]
            rows[mine] = self._first_row[index] + order((instances[mine] - begin) % order.size)
        file = np.searchsorted(self._file_starts, rows, side="right") - 1
        return file, rows - self._file_starts[file]
