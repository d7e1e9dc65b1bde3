"""The work of a `tokenizer` step from the Hub: import the tokenizer of a commit, in the form of our own tokenizers.

The model of the same commit is evaluated with it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from olmo_core.artifact.job import Job
from olmo_core.hub.convert import ConversionError, token_names
from olmo_core.hub.download import download
from olmo_core.hub.file_names import CONFIG, TOKENIZER
from olmo_core.hub.placement import HubPlacement
from olmo_core.hub.pretrained import PretrainedConfig
from olmo_core.tokens.special_tokens import SPECIAL_TOKENS_FILE, TOKENIZER_FILE, SpecialTokens
from olmo_core.tokens.tokenizer import EOS, without_limits


def import_tokenizer(job: Job) -> dict[str, Any]:
    """Write `tokenizer.json`, and `special_tokens.json` by config.json; return the special tokens.

    Raises:
        ConversionError: the commit has no tokenizer.json, or its config.json names no end-of-document token.
        ConnectionError: the Hub cannot be reached, or fails.
    """
    config = PretrainedConfig.model_validate(job.fields)
    assert config.repo is not None and config.revision is not None
    with tempfile.TemporaryDirectory(prefix="tokenizer-") as cache:
        files = (CONFIG, TOKENIZER)
        folder = download(config.repo, config.revision, files, cache, HubPlacement.of(job.placement).hub)
        if missing := [name for name in files if not (folder / name).is_file()]:
            raise ConversionError(f"{config.repo} at {config.revision} has no {missing[0]}; it cannot be evaluated")
        special = special_tokens(folder)
        (job.out / TOKENIZER_FILE).write_bytes(without_limits((folder / TOKENIZER).read_bytes()))
    (job.out / SPECIAL_TOKENS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(special), indent=2) + b"\n")
    return msgspec.structs.asdict(special)


def special_tokens(folder: Path) -> SpecialTokens:
    """Return the special tokens of a folder transformers can load; padding defaults to the end-of-document token.

    Raises:
        ConversionError: config.json names no end-of-document token, or several without `<|endoftext|>`.
    """
    names = token_names(folder / TOKENIZER)
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    eos = _end_of_document(config.get("eos_token_id"), names, path)
    pad = config.get("pad_token_id")
    pad = pad if isinstance(pad, int) and pad in names else eos
    return SpecialTokens(names[eos], eos, names[pad], pad, max(names) + 1)


def _end_of_document(eos: Any, names: dict[int, str], path: Path) -> int:
    """Return the id that ends a document; instruct models list it with those that end an answer."""
    ids = [number for number in (eos if isinstance(eos, list) else [eos]) if isinstance(number, int)]
    known = [number for number in ids if number in names]
    if not known:
        raise ConversionError(f"{path}: eos_token_id is {eos!r}, which is not an id of its tokenizer")
    chosen = known if len(known) == 1 else [number for number in known if names[number] == EOS]
    if not chosen:
        tokens = ", ".join(names[number] for number in known)
        raise ConversionError(
            f"{path}: eos_token_id is {eos!r} ({tokens}), none is {EOS}; keep the one that ends a document"
        )
    return chosen[0]
