"""A draft of a recipe for text that was looked at: the section of its corpora, and a small recipe that trains on them.

The recipe is based on `tiny`, whose text it does not use. Where there is less text than `tiny` trains on, its stages
and its tokenizer are made smaller to match.
"""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from olmo_core.documents.listing import list_files, time_of_change
from olmo_core.documents.overview import Corpus, Overview
from olmo_core.hub.identifiers import check_language
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.recipe import load_recipe

BASE = "tiny"
LICENCE = "LicenseRef-unknown"
_HELDOUT, _MOST_HELDOUT = 0.02, 0.25  # the default of a corpus, and the most that a draft holds out
_HELDOUT_DOCUMENTS = 20
_BYTES_PER_TOKEN = 5  # of English, with a vocabulary of 8192 rather 4: a draft asks for too little rather than too much
_MAX_EPOCHS = 4
_MIN_LANGUAGE = 0.1
_VOCABULARIES = {1_000_000: 2048, 100_000: 512}  # below so many bytes of text


def names(found: Overview) -> dict[str, Corpus]:
    """Return the corpora of an overview by the names that they get in a recipe: that of their folder or file."""
    base = load_recipe(BASE)
    taken = {*base.corpora, *base.token_files, *base.mixes}
    name = _name(found.path)
    several = len(found.corpora) > 1
    wanted = {f"{name}-{each.reader}" if several else name: each for each in found.corpora}
    return {f"my-{name}" if name in taken else name: each for name, each in wanted.items()}


def section(corpora: Mapping[str, Corpus]) -> str:
    """Return the section `corpora` of a recipe as YAML."""
    lines = ["corpora:"]
    for name, corpus in corpora.items():
        lines += [f"  {_flow(name)}:", "    source:"]
        for field, value in corpus.source.items():
            lines.append(f"      {field}: {_flow(value)}{_remark(corpus, field)}")
        lines.append(f"    licence: {LICENCE}  # write that of the text, in SPDX")
        if (share := heldout(corpus)) > _HELDOUT:
            lines.append(f"    heldout: {share}  # about {_HELDOUT_DOCUMENTS} documents, if there are as many")
    return "\n".join(lines) + "\n"


def draft(corpora: Mapping[str, Corpus], name: str) -> str:
    """Return a whole recipe as YAML.

    Args:
        corpora: the corpora by name.
        name: name of the recipe.
    """
    mix = next(iter(corpora))
    total = sum(each.sounding.documents.bytes for each in corpora.values())
    shares = {each: corpus.sounding.documents.bytes / max(1, total) for each, corpus in corpora.items()}
    about = f"A small language model of {', '.join(corpora)}."
    card = {"repo": f"me/{name}", "title": name, "languages": spoken(corpora.values()), "description": about}
    fields = {
        "tokenizer_corpora": list(corpora),
        "mixes": {mix: {"weights": {each: max(0.01, round(share, 2)) for each, share in shares.items()}}},
        **fitted(total, mix),
        "evaluation": {"heldout": list(corpora)},
        "release": {"card": card},
    }
    return "\n".join(
        [
            f"base: {BASE}",
            f"description: {about}",
            section(corpora).rstrip(),
            _block(fields),
        ]
    )


def write_draft(path: Path, corpora: Mapping[str, Corpus]) -> None:
    """Write a recipe that trains on these corpora.

    Raises:
        ConfigError: the file exists, cannot be written, has a name that no recipe can have, or would be read as text.
    """
    check_free(path)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(draft(corpora, path.stem))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        load_recipe(str(path.absolute()))
        if any(str(path.absolute()) in _listed(corpus) for corpus in corpora.values()):
            raise ConfigError(f"{path}: would be one of the files of the corpus; write it to another folder")
    except ConfigError:
        path.unlink()
        raise


def _listed(corpus: Corpus) -> set[str]:
    """Return the addresses of the local files of a corpus, as they are now."""
    own = [path for path in corpus.paths if "://" not in path]
    return {file.address for file in list_files(own, time_of_change)}


def check_free(path: Path) -> None:
    """Check that a recipe can be written.

    Raises:
        ConfigError: the file exists, or has a name that no recipe can have.
    """
    if path.exists():
        raise ConfigError(f"{path}: exists already; give another name, nothing is overwritten")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*\.ya?ml", path.name):
        raise ConfigError(f"{path}: a recipe is called NAME.yaml, with a name of a-z, 0-9, _ and -")


def heldout(corpus: Corpus) -> float:
    """Return the share of a corpus to hold out: more than by default if it has few documents."""
    count = max(1, corpus.sounding.documents.count)
    return max(_HELDOUT, min(_MOST_HELDOUT, math.ceil(100 * _HELDOUT_DOCUMENTS / count) / 100))


def spoken(corpora: Iterable[Corpus]) -> list[str]:
    """Return the codes of the languages that a model card names: those of a tenth of a corpus, or more."""
    shares = [item for corpus in corpora for item in corpus.sounding.languages.items()]
    frequent = dict.fromkeys(code for code, share in shares if share >= _MIN_LANGUAGE)
    return [code for code in frequent if _is_language(code)] or ["multilingual"]


def _is_language(code: str) -> bool:
    try:
        check_language(code)
    except ValueError:
        return False
    return True


def fitted(text_bytes: int, mix: str) -> dict[str, Any]:
    """Return the fields of tokenizer and stages for this much text: the mix, and what else has to differ from `tiny`.

    Args:
        text_bytes: bytes of text in the corpora.
        mix: name of their mix.
    """
    stages: dict[str, dict[str, Any]] = {}
    left = int(text_bytes * (1 - _MOST_HELDOUT)) // _BYTES_PER_TOKEN * _MAX_EPOCHS
    for name, stage in load_recipe(BASE).stages.items():
        stages[name] = {"mix": mix}
        batch, tokens = stage.batch_size * stage.sequence_length, stage.tokens or 0
        if left < tokens:
            stages[name] |= {"tokens": max(1, left // batch) * batch, "checkpoint_every": max(1, left // batch // 2)}
            stages[name] |= {"schedule": {"warmup": left // 10}} if stage.schedule.warmup else {}
    vocabulary = min((size for most, size in _VOCABULARIES.items() if text_bytes < most), default=None)
    return ({"tokenizer": {"vocab_size": vocabulary}} if vocabulary else {}) | {"stages": stages}


def _name(path: str) -> str:
    """Return a name for the corpus at an address: its last part without pattern and suffixes."""
    parts = [part for part in path.partition("://")[2 if "://" in path else 0].split("/") if part]
    plain: Iterable[str] = (part.partition(".")[0] for part in reversed(parts) if not set("*?[") & set(part))
    clean = (re.sub(r"[^a-z0-9_-]+", "-", part.lower()).strip("-_") for part in plain)
    return next((each for each in clean if each), "text")


def _remark(corpus: Corpus, field: str) -> str:
    found = corpus.sounding
    if field == "on_bad_row":
        return f"  # {found.bad_rows:,} rows of those looked at are no documents"
    return "  # the text column is a guess" if field == "columns" and found.text_guessed else ""


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False)
    return dumped.removesuffix("...\n").strip()


def _block(fields: Mapping[str, Any]) -> str:
    """Return fields as YAML, whose innermost mappings and lists are on one line."""
    dumped: str = yaml.safe_dump(dict(fields), default_flow_style=None, width=math.inf, sort_keys=False)
    return dumped
