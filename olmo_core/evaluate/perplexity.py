"""Held-out text as requests: which documents are scored, and in which windows.

The format is that of Paloma (arXiv 2312.10523): each document separately, with the end-of-text token before its first
token, in windows of the model's context length that do not overlap; all except the first are conditioned on one token.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from olmo_core.documents.corpus import MIN_HELDOUT
from olmo_core.documents.document import Document
from olmo_core.evaluate.scorer import Request


@dataclass(frozen=True)
class Selection:
    """The documents of a source that are scored, in order, and how much is left out, in whole documents or cut off."""

    documents: list[Document]
    left_out_documents: int
    left_out_bytes: int


def select(documents: Sequence[Document], source_bytes: int | None, document_bytes: int | None) -> Selection:
    """Cut documents to `document_bytes` each and select by hash as many as fit `source_bytes`, but at least two.

    Empty documents are left out: they have no bits per byte.
    """
    cut = [Document(document.id, _cut(document.text, document_bytes)) for document in documents]
    drawn = sorted((i for i in range(len(cut)) if cut[i].text), key=lambda i: _place(cut[i].id, i))
    kept: set[int] = set()
    total = 0
    for index in drawn:
        total += cut[index].bytes
        if len(kept) >= MIN_HELDOUT and source_bytes is not None and total > source_bytes:
            break
        kept.add(index)
    chosen = [cut[index] for index in sorted(kept)]
    scored = sum(document.bytes for document in chosen)
    return Selection(chosen, len(documents) - len(chosen), sum(document.bytes for document in documents) - scored)


def windows(tokens: Sequence[int], eos: int, length: int) -> list[Request]:
    """Return the requests that score every token of a document once, `length` tokens or fewer at a time."""
    before = [eos, *tokens]
    return [(before[start : start + 1], tokens[start : start + length]) for start in range(0, len(tokens), length)]


def bits(loglikelihood: float) -> float:
    """Convert a natural log-likelihood to bits."""
    return -loglikelihood / math.log(2)


def _cut(text: str, limit: int | None) -> str:
    return text if limit is None else text.encode()[:limit].decode(errors="ignore")


def _place(document: str, index: int) -> bytes:
    return hashlib.sha256(f"{document}/{index}".encode()).digest()
