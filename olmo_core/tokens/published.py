"""Token files that others made and published: copied into the store as they are, or read in place; checked and counted.

Which files make up a corpus is told by a published list, such as the config of an official run (all that it names below
a folder, each as often as it is named), or by their paths. What they are for fine-tuning, ids with a label mask beside
them, is the same as `data.paths` and `data.label_mask_paths` of OLMo. Making token files from documents is left to
`tokens`.
"""

import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, Self

import fsspec
import msgspec
import numpy as np
from fsspec.core import url_to_fs
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from olmo_core.artifact.files import refuse_pointer
from olmo_core.artifact.identity import Step, unused
from olmo_core.artifact.job import Job
from olmo_core.tokens.ranges import Ranges, absolute
from olmo_core.tokens.special_tokens import SPECIAL_TOKENS_FILE, SpecialTokens
from olmo_core.tokens.token_file import ENDS_DTYPE, TOKENS_FILE, TokenFile

TOKEN_FILES_VERSION = 2
_CHUNK_BYTES = 1 << 24
# What is read of a file that stays where it is: ids of another type show in the first few.
_LOOK_BYTES = 1 << 18
_NUMPY_MAGIC = b"\x93NUMPY"
# Fewer may be documents of one token each, with 0 for the end of a document.
_WIDE_IDS = 16


class TokenFilesError(ValueError):
    """A list that names no such files, or a file that does not hold ids of the tokenizer."""


class TokenFilesConfig(BaseModel):
    """A corpus that comes as token files without a header, as OLMo's. Any address that fsspec reads will do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    list_url: str | None = Field(
        None,
        description="Address of the text that names the files. Pin it to a commit: it decides what the corpus is.",
        exclude_if=unused,
    )
    folder: str | None = Field(
        None, min_length=1, description="Take the files that the list names with this in their path.", exclude_if=unused
    )
    root: str | None = Field(
        None,
        description="Address that the files are read from, up to `folder`.",
        exclude_if=unused,
    )
    tokenizer_folder: str | None = Field(None, description="Replaces `{TOKENIZER}` in the list.")
    paths: tuple[str, ...] = Field((), description="Addresses of the files, instead of a list.", exclude_if=unused)
    label_mask_paths: tuple[str, ...] = Field(
        (),
        description="A file for each of `paths`, one byte a token: 1 if it is to be predicted, 0 if not.",
        exclude_if=unused,
    )
    sidecars: bool = Field(
        False,
        description="End documents where the `.csv.gz` beside each file says (`start,end,...` in tokens), not at EOS.",
        exclude_if=unused,
    )
    in_place: bool = Field(
        False,
        description="Read the files where they are, by ranges, while training, instead of copying them first.",
        exclude_if=unused,
    )
    shards: int = Field(1, ge=1, description="Parts that the corpus is made in; files are dealt out to them in turn.")
    licence: str = Field(description="Licence of the text, as an SPDX expression if possible.", min_length=1)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        listed = {"list_url": self.list_url, "folder": self.folder, "root": self.root}
        given = sorted(name for name, value in listed.items() if value is not None)
        if len(given) != (0 if self.paths else len(listed)):
            raise ValueError(
                f"has {', '.join([*given, *(['paths'] if self.paths else [])]) or 'no files'}; "
                "give list_url, folder and root, or paths"
            )
        if self.paths and len(self.paths) < self.shards:
            raise ValueError(f"shards is {self.shards}, paths has {len(self.paths)} files; give at most that")
        if self.label_mask_paths and len(self.label_mask_paths) != len(self.paths):
            raise ValueError(
                f"label_mask_paths has {len(self.label_mask_paths)} files, paths {len(self.paths)}; give one for each"
            )
        return self


def token_files_step(name: str, config: TokenFilesConfig, shard: int, tokenizer: Step) -> Step:
    """The step that takes one shard of the corpus `name`; `tokenizer` is the one the files were made with.

    Its identity is that of the list or the paths: these tell no digests. What was copied is digested in its record.
    """
    return Step(
        kind="tokens",
        name=f"{name}-{shard:05d}",
        version=TOKEN_FILES_VERSION,
        fields={**config.model_dump(mode="json"), "shard": shard},
        inputs={"tokenizer": tokenizer},
        work=take_token_files,
    )


def take_token_files(job: Job) -> dict[str, Any]:
    """Write `tokens.json`, a list of the shard's files, and what is copied of them; returns the sum of their counts.

    Raises:
        TokenFilesError: the list names no file for the shard, a file ends within an id, holds one that the tokenizer
            has not, or does not fit its mask or sidecar; names the file.
    """
    shard = int(job.fields["shard"])
    config = TokenFilesConfig.model_validate({key: value for key, value in job.fields.items() if key != "shard"})
    special_file = job.inputs["tokenizer"].path / SPECIAL_TOKENS_FILE
    special = msgspec.json.decode(special_file.read_bytes(), type=SpecialTokens)
    addresses = named(config)
    masks = config.label_mask_paths or (None,) * len(addresses)
    mine = list(zip(addresses, masks, strict=True))[shard :: config.shards]
    if not mine:
        raise TokenFilesError(
            f"{job.step.label}: {config.list_url} names {len(addresses)} files in {config.folder}, too few for "
            f"{config.shards} shards; give at most as many shards, or another folder"
        )
    files: list[TokenFile] = []
    for number, (address, mask) in enumerate(mine):
        name = f"part-{shard:05d}-{number:05d}"
        try:
            files.append(_Taken(job.out, name, special, config).take(address, mask))
        except FileNotFoundError as error:
            raise TokenFilesError(
                f"{job.step.label}: {address}, or what should lie beside it, is not there: {error}"
            ) from error
        tokens = sum(file.tokens for file in files)
        job.progress(len(files), len(mine), "files", tokens=tokens)
    (job.out / TOKENS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(files), indent=2) + b"\n")
    counts = [file.documents for file in files]
    documents = None if None in counts else sum(count or 0 for count in counts)
    return {"tokens": tokens, "documents": documents, "dtype": files[0].dtype, "files": len(files)}


def named(config: TokenFilesConfig) -> list[str]:
    """Return the addresses of the files of a corpus, in order."""
    if config.list_url is None:
        return list(config.paths)
    with fsspec.open(config.list_url, "rt", encoding="utf-8") as file:
        return listed(str(file.read()), config)


def listed(text: str, config: TokenFilesConfig) -> list[str]:
    """Return the addresses of the files a list names in the folder, in its order, repetitions included.

    Raises:
        TokenFilesError: label masks are among them; their bytes would be taken for ids.
    """
    assert config.folder is not None and config.root is not None
    places = re.findall(rf"{re.escape(config.folder)}[^\s,\"']*\.npy", text)
    if masks := [place for place in places if PurePath(place).name.startswith("label_mask")]:
        raise TokenFilesError(f"{config.list_url} names {masks[0]}; give such a source as paths and label_mask_paths")
    root = config.root.rstrip("/")
    return [f"{root}/{place.replace('{TOKENIZER}', config.tokenizer_folder or '{TOKENIZER}')}" for place in places]


class _Taken:
    """One file of a shard, with what lies beside it, copied or looked at."""

    def __init__(self, out: Path, name: str, special: SpecialTokens, config: TokenFilesConfig) -> None:
        self.out, self.name, self.special, self.config = out, name, special, config
        self.dtype = np.dtype(np.uint16 if special.vocab_size <= 2**16 else np.uint32)

    def take(self, address: str, mask: str | None) -> TokenFile:
        file, tokens, documents = self._looked_at(address) if self.config.in_place else self._copied(address)
        label_mask = None if mask is None else self._mask(mask, tokens)
        ends = None
        if self.config.sidecars:
            ends, documents = self._sidecar(f"{address.removesuffix('.npy')}.csv.gz", tokens)
        vocab_size, eos_id = self.special.vocab_size, self.special.eos_id
        return TokenFile(file, self.dtype.name, tokens, documents, vocab_size, eos_id, label_mask, ends)

    def _looked_at(self, address: str) -> tuple[str, int, None]:
        """Check size, first and last ids of a file; return where it is, how many ids it holds, documents uncounted."""
        size, place = _size(address), absolute(address)
        look = min(size, _LOOK_BYTES)
        first, last = (each.tobytes() for each in Ranges().read([place, place], [0, size - look], look))
        self._check_first(address, first)
        self._whole(address, size)
        self._check(address, first + last)
        return place, size // self.dtype.itemsize, None

    def _copied(self, address: str) -> tuple[str, int, int]:
        """Copy a file; return its name, how many ids it holds, and how many of them end a document."""
        name, tokens, documents = f"{self.name}.npy", 0, 0
        rest = b""
        with fsspec.open(address, "rb") as source, (self.out / name).open("wb") as out:
            while chunk := rest + source.read(_CHUNK_BYTES):
                if not tokens:
                    self._check_first(address, chunk)
                whole = len(chunk) - len(chunk) % self.dtype.itemsize
                if not whole:
                    self._whole(address, len(chunk))
                ids = self._check(address, chunk[:whole])
                out.write(chunk[:whole])
                tokens, documents = tokens + len(ids), documents + int((ids == self.special.eos_id).sum())
                rest = chunk[whole:]
        return name, tokens, documents

    def _whole(self, address: str, size: int) -> None:
        if size % self.dtype.itemsize:
            raise TokenFilesError(f"{address} ends within an id of {self.dtype}; it is cut, or of another type")

    def _check_first(self, address: str, head: bytes) -> None:
        """Refuse what is no file of bare ids, or has wider ids: their upper halves would be read as ids 0."""
        _check_bare(address, head)
        size = self.dtype.itemsize
        ids = np.frombuffer(head[: len(head) - len(head) % size], dtype=self.dtype)
        if ids.size >= _WIDE_IDS and ids.any() and not ids[1::2].any():
            wide = 8 if size == 4 or not ids[2::4].any() else 4
            raise TokenFilesError(
                f"{address}: every second id is 0: its ids were written with {wide} bytes each, not {size}; write them "
                f"as {self.dtype}, `ids.astype({self.dtype.name!r}).tofile(path)`"
            )

    def _check(self, address: str, read: bytes) -> NDArray[Any]:
        ids = np.frombuffer(read, dtype=self.dtype)
        if ids.size and ids.max() >= self.special.vocab_size:
            raise TokenFilesError(
                f"{address} holds id {ids.max()}, the tokenizer's end at {self.special.vocab_size - 1}; it was not "
                f"written as {self.dtype} with this tokenizer"
            )
        return ids

    def _mask(self, address: str, tokens: int) -> str:
        """Take a label mask; return its name or address."""
        size = _size(address)
        if size != tokens:
            with fsspec.open(address, "rb") as file:
                _check_bare(address, file.read(_LOOK_BYTES))
            raise TokenFilesError(
                f"{address} has {size} bytes, its token file {tokens} tokens; a label mask has a byte for each"
            )
        if self.config.in_place:
            return absolute(address)
        name = f"{self.name}.label_mask.npy"
        with fsspec.open(address, "rb") as source, (self.out / name).open("wb") as out:
            while chunk := source.read(_CHUNK_BYTES):
                if (highest := max(chunk)) > 1:
                    raise TokenFilesError(f"{address} holds the byte {highest}; a label mask has 0 or 1 for each token")
                out.write(chunk)
        return name

    def _sidecar(self, address: str, tokens: int) -> tuple[str, int]:
        """Write where the documents of a sidecar end; return the name of that file and how many there are."""
        name, end = f"{self.name}.ends.npy", 0
        ends = np.fromiter(_ends(address), dtype=ENDS_DTYPE)
        end = int(ends[-1]) if len(ends) else 0
        if end != tokens:
            raise TokenFilesError(
                f"{address} ends its last document at token {end}, the token file has {tokens}; they are not of one run"
            )
        ends.tofile(self.out / name)
        return name, len(ends)


def _check_bare(address: str, head: bytes) -> None:
    refuse_pointer(address, head)
    if head.startswith(_NUMPY_MAGIC):
        raise TokenFilesError(
            f"{address} begins with numpy's header, as `np.save` writes it; token files and label masks have none: "
            "write it with `array.tofile(path)`"
        )


def _size(address: str) -> int:
    store, path = url_to_fs(address)
    size = store.size(path)
    if size is None:
        raise TokenFilesError(f"{address}: its server does not tell how large it is; copy it to another place")
    return int(size)


def _ends(address: str) -> Iterator[int]:
    """Yield where each document ends, by its row `start,end,...`; each begins where the one before ended."""
    last = 0
    with (
        fsspec.open(address, "rb") as packed,
        gzip.open(packed, "rt", encoding="utf-8", newline="") as text,
    ):
        refuse_pointer(address, packed.read(_LOOK_BYTES))
        packed.seek(0)
        for number, row in enumerate(csv.reader(text), 1):
            try:
                start, end = int(row[0]), int(row[1])
            except (IndexError, ValueError) as error:
                raise TokenFilesError(f"{address}, row {number}: {','.join(row)!r} is no `start,end,...`") from error
            if start != last or end <= start:
                raise TokenFilesError(
                    f"{address}, row {number}: a document from token {start} to {end}; the one before ends at {last}"
                )
            yield end
            last = end
