"""Which documents of a shard a corpus trains on: a file of one bit each, and the documents it marks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from olmo_core.documents.document import Document, read_documents
from olmo_core.documents.shard import DOCUMENTS_FILE, read_report


def kept_file(shard: int) -> str:
    """Return the name of the file that marks which documents of a shard are trained on: one bit each, highest first."""
    return f"kept-{shard:05d}.bits"


def write_kept(corpus: Path, shard: int, kept: NDArray[np.bool_]) -> None:
    """Write which documents of a shard are trained on: (documents,)."""
    np.packbits(kept).tofile(corpus / kept_file(shard))


def read_kept(corpus: Path, documents: Path, shard: int) -> Iterator[Document]:
    """Yield the training documents of one shard.

    Args:
        corpus: folder of the corpus.
        documents: folder of the shard.
        shard: number of the shard.

    Raises:
        ValueError: the two folders do not belong together.
    """
    kept = _kept(corpus / kept_file(shard), read_report(documents)["documents"])
    return read_documents(documents / DOCUMENTS_FILE, kept)


def _kept(path: Path, documents: int) -> NDArray[np.bool_]:
    bits, size = np.fromfile(path, dtype=np.uint8), -(-documents // 8)
    if len(bits) != size:
        raise ValueError(f"{path} has {len(bits)} bytes, {documents} documents need {size}; make the corpus again")
    return np.unpackbits(bits, count=documents).view(bool)
