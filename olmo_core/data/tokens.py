"""Token files: the documents of one shard as token ids, in OLMo's form.

`part-<shard>.npy` is headerless: nothing but the ids, uint16 where the vocabulary fits and else uint32, every document
followed by EOS, no BOS. `part-<shard>.csv.gz` has a row `start,end,id` a document, positions in tokens, EOS included.
`tokens.json` says what the ids are. Cutting them into instances is left to `mix`.
"""

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.data.corpus import shard_file
from olmo_core.data.document import Document, read_documents
from olmo_core.data.tokenizer import load_tokenizer

TOKENS_VERSION = 1
TOKENS_FILE = "tokens.json"
_BATCH_DOCUMENTS = 256


class TokenFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `tokens.json` holds: the token file's name and counts, and how its ids are written."""

    file: str
    dtype: str
    tokens: int
    documents: int
    vocab_size: int
    eos_id: int


def tokens_step(corpus: Step, shard: int, tokenizer: Step) -> Step:
    """The step that tokenises one shard of a corpus.

    Raises:
        ValueError: when the corpus has no such shard.
    """
    shards = corpus.fields["shards"]
    if not 0 <= shard < shards:
        raise ValueError(f"corpus {corpus.name} has shards 0 to {shards - 1}, not {shard}")
    return Step(
        kind="tokens",
        name=f"{corpus.name}-{shard:05d}",
        version=TOKENS_VERSION,
        fields={"shard": shard},
        inputs={"corpus": corpus, "tokenizer": tokenizer},
        work="olmo_core.data.tokens:make_tokens",
    )


def make_tokens(job: Job) -> dict[str, Any]:
    """Write the token file, its sidecar and `tokens.json`; returns the latter."""
    shard = int(job.fields["shard"])
    tokenizer, special = load_tokenizer(job.inputs["tokenizer"].path)
    dtype = np.dtype(np.uint16 if special.vocab_size <= 2**16 else np.uint32)
    source = job.inputs["corpus"].path / shard_file(shard)
    name = f"part-{shard:05d}.npy"
    tokens = documents = 0
    with (job.out / name).open("wb") as ids, _sidecar(job.out / f"part-{shard:05d}.csv.gz") as rows:
        write = csv.writer(rows, lineterminator="\n").writerow
        for batch in _batches(read_documents(source)):
            encodings = tokenizer.encode_batch_fast([document.text for document in batch], add_special_tokens=False)
            for document, encoding in zip(batch, encodings, strict=True):
                encoded = np.array([*encoding.ids, special.eos_id], dtype=dtype)
                encoded.tofile(ids)
                write((tokens, tokens + len(encoded), document.id))
                tokens += len(encoded)
            documents += len(batch)
            job.progress(documents, documents, "documents", tokens=tokens)
    about = TokenFile(name, dtype.name, tokens, documents, special.vocab_size, special.eos_id)
    (job.out / TOKENS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=2) + b"\n")
    return msgspec.structs.asdict(about)


def read_token_file(folder: Path) -> TokenFile:
    """What a tokens artifact holds.

    Raises:
        ValueError: when `tokens.json` is damaged, or the file's size is not what it says.
    """
    try:
        about = msgspec.json.decode((folder / TOKENS_FILE).read_bytes(), type=TokenFile)
    except msgspec.DecodeError as error:
        raise ValueError(f"{folder / TOKENS_FILE}: {error}; tokenise the shard again") from error
    size, expected = (folder / about.file).stat().st_size, about.tokens * np.dtype(about.dtype).itemsize
    if size != expected:
        raise ValueError(
            f"{folder / about.file} has {size} bytes; {about.tokens} tokens of {about.dtype} are {expected}"
        )
    return about


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while batch := list(islice(documents, _BATCH_DOCUMENTS)):
        yield batch


@contextmanager
def _sidecar(path: Path) -> Iterator[io.TextIOWrapper]:
    """A gzipped text file whose bytes do not depend on the clock."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        yield text
