"""Published token files: copied into the store unchanged, or read in place; checked and counted.

The files of a corpus are given by their paths, or by a published list, such as the config of an official run: all files
that it names below a folder, each as often as it is named. For fine-tuning, ids have label masks, as in `data.paths`
and `data.label_mask_paths` of OLMo. `file_import` imports one file; `token_file` makes token files from text.
"""

import re
from pathlib import PurePath
from typing import Any, Self

import fsspec
import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from olmo_core.artifact.identity import Step, unused
from olmo_core.artifact.job import Job
from olmo_core.tokens.file_import import FileImport, TokenFilesError
from olmo_core.tokens.special_tokens import SPECIAL_TOKENS_FILE, SpecialTokens
from olmo_core.tokens.token_file import TOKENS_FILE, TokenFile

TOKEN_FILES_VERSION = 2


class TokenFilesConfig(BaseModel):
    """A corpus given as token files without a header, in OLMo's format, at any address that fsspec can read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    list_url: str | None = Field(
        None,
        description="Address of a text that lists the files. Pin it to a commit: it determines the corpus.",
        exclude_if=unused,
    )
    folder: str | None = Field(
        None, min_length=1, description="Use the files of the list whose path contains this.", exclude_if=unused
    )
    root: str | None = Field(
        None,
        description="Address that the files are read from, without `folder`.",
        exclude_if=unused,
    )
    tokenizer_folder: str | None = Field(None, description="Replaces `{TOKENIZER}` in the list.")
    paths: tuple[str, ...] = Field((), description="Addresses of the files, instead of a list.", exclude_if=unused)
    label_mask_paths: tuple[str, ...] = Field(
        (),
        description="A file for each of `paths`, with one byte per token: 1 if it is to be predicted, else 0.",
        exclude_if=unused,
    )
    sidecars: bool = Field(
        False,
        description="Read where documents end from the `.csv.gz` next to each file (`start,end,...` in tokens), not "
        "from EOS.",
        exclude_if=unused,
    )
    in_place: bool = Field(
        False,
        description="Read ranges of the files in place during training, instead of copying the files first.",
        exclude_if=unused,
    )
    shards: int = Field(1, ge=1, description="Parts in which the corpus is made; the files are dealt to them in turn.")
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
    """Return the step that imports one shard of the corpus `name`; `tokenizer` is the one the files were made with.

    The list or the paths are its identity, without digests of the files. The record has digests of the copies.
    """
    return Step(
        kind="tokens",
        name=f"{name}-{shard:05d}",
        version=TOKEN_FILES_VERSION,
        fields={**config.model_dump(mode="json"), "shard": shard},
        inputs={"tokenizer": tokenizer},
        work=import_token_files,
    )


def import_token_files(job: Job) -> dict[str, Any]:
    """Write `tokens.json`, a list of the shard's files, and the copied files; return their total counts.

    Raises:
        TokenFilesError: the list has no file for the shard, or a file ends within an id, has an id that is not in the
            tokenizer, or does not fit its mask or sidecar; names the file.
    """
    shard = int(job.fields["shard"])
    config = TokenFilesConfig.model_validate({key: value for key, value in job.fields.items() if key != "shard"})
    special_file = job.inputs["tokenizer"].path / SPECIAL_TOKENS_FILE
    special = msgspec.json.decode(special_file.read_bytes(), type=SpecialTokens)
    addresses = named(config)
    masks = config.label_mask_paths or (None,) * len(addresses)
    own = list(zip(addresses, masks, strict=True))[shard :: config.shards]
    if not own:
        raise TokenFilesError(
            f"{job.step.label}: {config.list_url} names {len(addresses)} files in {config.folder}, too few for "
            f"{config.shards} shards; give at most as many shards, or another folder"
        )
    files: list[TokenFile] = []
    for number, (address, mask) in enumerate(own):
        name = f"part-{shard:05d}-{number:05d}"
        try:
            files.append(FileImport(job.out, name, special, config.in_place, config.sidecars).run(address, mask))
        except FileNotFoundError as error:
            raise TokenFilesError(
                f"{job.step.label}: {address}, its label mask or its sidecar does not exist: {error}"
            ) from error
        tokens = sum(file.tokens for file in files)
        job.progress(len(files), len(own), "files", tokens=tokens)
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
    """Return the addresses of the files that a list names in the folder, in its order, with repetitions.

    Raises:
        TokenFilesError: label masks are among them; their bytes would be read as ids.
    """
    assert config.folder is not None and config.root is not None
    places = re.findall(rf"{re.escape(config.folder)}[^\s,\"']*\.npy", text)
    if masks := [place for place in places if PurePath(place).name.startswith("label_mask")]:
        raise TokenFilesError(f"{config.list_url} names a label mask, {masks[0]}; give paths and label_mask_paths")
    root = config.root.rstrip("/")
    return [f"{root}/{place.replace('{TOKENIZER}', config.tokenizer_folder or '{TOKENIZER}')}" for place in places]
