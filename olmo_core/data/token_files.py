"""Token files that others made and published: copied into the store as they are, checked and counted.

Which files make up a corpus is told by a published list, such as the config of an official run: all that it names below
a folder, each as often as it is named. Making token files from documents is left to `tokens`.
"""

import re
from typing import IO, Any

import fsspec
import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.data.tokenizer import SPECIAL_TOKENS_FILE, SpecialTokens
from olmo_core.data.tokens import TOKENS_FILE, TokenFile

TOKEN_FILES_VERSION = 1
_CHUNK_BYTES = 1 << 24


class TokenFilesError(ValueError):
    """A list that names no such files, or a file that does not hold ids of the tokenizer."""


class TokenFilesConfig(BaseModel):
    """A corpus that comes as OLMo's headerless token files. Addresses may be of any kind fsspec reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    list_url: str = Field(
        description="Address of the text that names the files; of a fixed commit, for it decides what the corpus is."
    )
    folder: str = Field(min_length=1, description="Files are those the list names with this in their path.")
    root: str = Field(description="What stands before that folder in the address the files are read from.")
    tokenizer_folder: str | None = Field(None, description="What stands for `{TOKENIZER}` in the list.")
    shards: int = Field(1, ge=1, description="Token files the corpus becomes; every n-th file goes into the same.")
    licence: str = Field(description="Licence of the text, an SPDX expression where there is one.", min_length=1)


def token_files_step(name: str, config: TokenFilesConfig, shard: int, tokenizer: Step) -> Step:
    """The step that copies one shard of the corpus `name`; `tokenizer` is the one the files were made with.

    Its identity is that of the list: published lists tell no digests. What was copied is digested in its record.
    """
    return Step(
        kind="tokens",
        name=f"{name}-{shard:05d}",
        version=TOKEN_FILES_VERSION,
        fields={**config.model_dump(mode="json"), "shard": shard},
        inputs={"tokenizer": tokenizer},
        work="olmo_core.data.token_files:copy_token_files",
    )


def copy_token_files(job: Job) -> dict[str, Any]:
    """Write `part-<shard>.npy`, the files of the shard one after the other, and `tokens.json`; returns the latter.

    Raises:
        TokenFilesError: the list names no file for the shard, a file ends within an id, or holds one that the tokenizer
            has not; names the file.
    """
    shard = int(job.fields["shard"])
    config = TokenFilesConfig.model_validate({key: value for key, value in job.fields.items() if key != "shard"})
    special_file = job.inputs["tokenizer"].path / SPECIAL_TOKENS_FILE
    special = msgspec.json.decode(special_file.read_bytes(), type=SpecialTokens)
    dtype = np.dtype(np.uint16 if special.vocab_size <= 2**16 else np.uint32)
    addresses = listed(_text(config.list_url), config)
    mine = addresses[shard :: config.shards]
    if not mine:
        raise TokenFilesError(
            f"{job.step.label}: {config.list_url} names {len(addresses)} files in {config.folder}, too few for "
            f"{config.shards} shards; give at most as many shards, or another folder"
        )
    name, tokens, documents = f"part-{shard:05d}.npy", 0, 0
    with (job.out / name).open("wb") as out:
        for number, address in enumerate(mine, 1):
            copied, ended = _copy(address, out, dtype, special)
            tokens, documents = tokens + copied, documents + ended
            job.progress(number, len(mine), "files", tokens=tokens)
    about = TokenFile(name, dtype.name, tokens, documents, special.vocab_size, special.eos_id)
    (job.out / TOKENS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=2) + b"\n")
    return msgspec.structs.asdict(about)


def listed(text: str, config: TokenFilesConfig) -> list[str]:
    """Return the addresses of the files a list names in the folder, in its order, repetitions included."""
    places = re.findall(rf"{re.escape(config.folder)}[^\s,\"']*\.npy", text)
    root = config.root.rstrip("/")
    return [f"{root}/{place.replace('{TOKENIZER}', config.tokenizer_folder or '{TOKENIZER}')}" for place in places]


def _text(address: str) -> str:
    with fsspec.open(address, "rt", encoding="utf-8") as file:
        return str(file.read())


def _copy(address: str, out: IO[bytes], dtype: np.dtype[Any], special: SpecialTokens) -> tuple[int, int]:
    """Append the ids of a file to `out`; return how many there are, and how many of them end a document."""
    tokens = documents = 0
    rest = b""
    with fsspec.open(address, "rb") as source:
        while chunk := rest + source.read(_CHUNK_BYTES):
            whole = len(chunk) - len(chunk) % dtype.itemsize
            if not whole:
                raise TokenFilesError(f"{address} ends within an id of {dtype}; it is cut, or of another type")
            ids = np.frombuffer(chunk[:whole], dtype=dtype)
            if ids.max() >= special.vocab_size:
                raise TokenFilesError(
                    f"{address} holds id {ids.max()}, the tokenizer's end at {special.vocab_size - 1}; it was not "
                    f"written as {dtype} with this tokenizer"
                )
            out.write(chunk[:whole])
            tokens, documents = tokens + len(ids), documents + int((ids == special.eos_id).sum())
            rest = chunk[whole:]
    return tokens, documents
