"""The work of a `tokenizer` step from the Hub: the tokenizer of a commit, in the form those of the data room have.

With it the model of the same commit is evaluated on text as it was trained on text.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from olmo_core.artifact.job import Job
from olmo_core.data.tokenizer import SPECIAL_TOKENS_FILE, TOKENIZER_FILE, SpecialTokens
from olmo_core.hub.convert import ConversionError
from olmo_core.hub.pretrained import PretrainedConfig
from olmo_core.hub.snapshot import download


def take_tokenizer(job: Job) -> dict[str, Any]:
    """Write `tokenizer.json` as it is and `special_tokens.json` from what config.json says; return the latter.

    Raises:
        ConversionError: the commit has no tokenizer.json, or its config.json names no end of document of it.
        ConnectionError: the Hub cannot be reached, or is out of order.
    """
    config = PretrainedConfig.model_validate(job.fields)
    assert config.repo is not None and config.revision is not None
    with tempfile.TemporaryDirectory(prefix="tokenizer-") as cache:
        files = ("config.json", TOKENIZER_FILE)
        folder = download(config.repo, config.revision, files, cache, job.placement.hub)
        if missing := [name for name in files if not (folder / name).is_file()]:
            raise ConversionError(f"{config.repo} at {config.revision} holds no {missing[0]}; it cannot be evaluated")
        special = special_tokens(folder)
        (job.out / TOKENIZER_FILE).write_bytes((folder / TOKENIZER_FILE).read_bytes())
    (job.out / SPECIAL_TOKENS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(special), indent=2) + b"\n")
    return msgspec.structs.asdict(special)


def special_tokens(folder: Path) -> SpecialTokens:
    """Return the special tokens of a folder transformers can load; one without padding pads with end of document."""
    tokenizer = json.loads((folder / TOKENIZER_FILE).read_text())
    config = json.loads((folder / "config.json").read_text())
    names = {number: text for text, number in tokenizer["model"]["vocab"].items()}
    names |= {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    eos = config.get("eos_token_id")
    if eos not in names:
        raise ConversionError(f"{folder / 'config.json'}: eos_token_id is {eos!r}, no id of its tokenizer")
    pad = config["pad_token_id"] if config.get("pad_token_id") in names else eos
    return SpecialTokens(names[eos], eos, names[pad], pad, max(names) + 1)
