"""Token files: the training documents of one shard of a corpus as token ids, in OLMo's format.

`part-<shard>.npy` has no header: only ids, uint16 if the vocabulary fits, else uint32; each document is followed by
EOS, and there is no BOS. `sidecar` defines the files that accompany it. `tokens.json` describes the ids. `mix` divides
them into instances.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.documents.corpus import shards_of
from olmo_core.documents.document import Document
from olmo_core.documents.kept import read_kept
from olmo_core.tokens.engine import Engine, run_encoder
from olmo_core.tokens.ranges import is_remote
from olmo_core.tokens.sidecar import SidecarWriter
from olmo_core.tokens.special_tokens import SpecialTokens
from olmo_core.tokens.tokenizer import load_tokenizer

TOKENS_VERSION = 2
TOKENS_FILE = "tokens.json"
ENDS_DTYPE = np.dtype("<u8")
# Large enough that the work per batch does not count, small enough for progress and memory.
_BATCH_CHARACTERS = 1_000_000


class TokenFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The entry of a token file in `tokens.json`: its name and counts, and how its ids are written.

    Attributes:
        file: name in the artifact's folder, or the address from which it is read in place.
        dtype: type of the ids.
        tokens: number of tokens.
        documents: number of documents that end in it; None if not counted.
        vocab_size: every id is below it.
        eos_id: id that ends a document.
        label_mask: name or address of a file with one byte per token, 1 if it is to be predicted, else 0.
        ends: name of a file of the positions where documents end (`ENDS_DTYPE`, exclusive), if EOS does not mark them.
    """

    file: str
    dtype: str
    tokens: int
    documents: int | None
    vocab_size: int
    eos_id: int
    label_mask: str | None = None
    ends: str | None = None


def tokens_step(corpus: Step, shard: int, tokenizer: Step) -> Step:
    """Return the step that tokenises one shard of a corpus.

    Raises:
        ValueError: the corpus has no such shard.
    """
    shards = shards_of(corpus)
    if not 0 <= shard < len(shards):
        raise ValueError(f"corpus {corpus.name} has shards 0 to {len(shards) - 1}, not {shard}")
    return Step(
        kind="tokens",
        name=f"{corpus.name}-{shard:05d}",
        version=TOKENS_VERSION,
        fields={"shard": shard},
        inputs={"corpus": corpus, "documents": shards[shard], "tokenizer": tokenizer},
        work=make_tokens,
    )


def make_tokens(job: Job) -> dict[str, Any]:
    """Write the token file, its sidecars and `tokens.json`; return the contents of `tokens.json`."""
    tokenizer, special = load_tokenizer(job.inputs["tokenizer"].path)
    about = run_encoder(
        tokenizer, special.vocab_size, job.placement.threads, lambda encode: _write_shard(job, special, encode)
    )
    (job.out / TOKENS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=2) + b"\n")
    return msgspec.structs.asdict(about)


def _write_shard(job: Job, special: SpecialTokens, encode: Engine) -> TokenFile:
    """Write the token file and its sidecars; files that an earlier call wrote are replaced."""
    shard = int(job.fields["shard"])
    dtype = np.dtype(np.uint16 if special.vocab_size <= 2**16 else np.uint32)
    kept = read_kept(job.inputs["corpus"].path, job.inputs["documents"].path, shard)
    name = f"part-{shard:05d}.npy"
    tokens = documents = 0
    with (job.out / name).open("wb") as ids, SidecarWriter(job.out, shard) as rows:
        for batch in _batches(kept):
            encoded = encode([document.text for document in batch])
            np.insert(encoded.ids.astype(dtype), encoded.ends, special.eos_id).tofile(ids)
            ends = encoded.ends + np.arange(tokens + 1, tokens + 1 + len(batch))
            rows.write(tokens, ends.tolist(), batch)
            tokens = int(ends[-1])
            documents += len(batch)
            job.progress(documents, documents, "documents", tokens=tokens)
    return TokenFile(name, dtype.name, tokens, documents, special.vocab_size, special.eos_id)


def read_token_files(folder: Path) -> list[TokenFile]:
    """Return the token files of a tokens artifact: one if it was made here, else the imported files in order.

    Raises:
        ValueError: `tokens.json` is damaged, or a local file has another size than it says.
    """
    try:
        entries = msgspec.json.decode((folder / TOKENS_FILE).read_bytes(), type=TokenFile | list[TokenFile])
    except msgspec.DecodeError as error:
        raise ValueError(f"{folder / TOKENS_FILE}: {error}; tokenise the shard again") from error
    files = entries if isinstance(entries, list) else [entries]
    for about in files:
        _check_size(folder, about.file, about.tokens, np.dtype(about.dtype))
        if about.label_mask is not None:
            _check_size(folder, about.label_mask, about.tokens, np.dtype(bool))
    return files


def _check_size(folder: Path, name: str, tokens: int, dtype: np.dtype[Any]) -> None:
    if is_remote(name):
        return  # reading a range past the end of a remote file raises
    size, expected = (folder / name).stat().st_size, tokens * dtype.itemsize
    if size != expected:
        raise ValueError(
            f"{folder / name} has {size} bytes, {tokens} tokens of {dtype} need {expected}; make the step again"
        )


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch, size = [], 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
