"""Digests of the documents of a shard: all that is needed to tell which are equal and which are held out.

`digests.bin` has one `DIGEST` a document, in the order of the documents and nothing else, so that it can be mapped.
Deciding over a billion documents takes 32 GB of these and as much memory, and not one of their texts.
"""

import hashlib
import math
import struct
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olmo_core.documents.document import Document

# `high` and `low` are the first 16 bytes of the digest of the text: 10^10 texts have an equal pair with 10^-19.
# `place` is where the group, or the text where it has none, lies between 0 and 2^64; `bytes` is the text's in UTF-8.
DIGEST = np.dtype([("high", "<u8"), ("low", "<u8"), ("place", "<u8"), ("bytes", "<u8")])
_ROW = struct.Struct("<16sQQ")
# What tells the place of a text from its digest, so that equal halves of the one say nothing of the other.
_PLACE = "heldout"


def digest(text: str, salt: str = "") -> bytes:
    """Sha256 of the text as a reader compares it: case, spacing and Unicode composition make no difference."""
    plain = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    return hashlib.sha256(f"{salt}\n{plain}".encode()).digest()


def digest_row(document: Document) -> bytes:
    """Return a document's row of the file."""
    place = int.from_bytes(digest(document.group or document.text, _PLACE)[:8], "big")
    return _ROW.pack(digest(document.text)[:16], place, document.bytes)


def read_digests(path: Path) -> NDArray[Any]:
    """Return the file as an array of `DIGEST`, mapped: (documents,).

    Raises:
        ValueError: it ends within a row; names the file.
    """
    size = path.stat().st_size
    if size % DIGEST.itemsize:
        raise ValueError(f"{path} has {size} bytes, no multiple of {DIGEST.itemsize}; make the step again")
    return np.memmap(path, dtype=DIGEST, mode="r") if size else np.empty(0, dtype=DIGEST)


def repeated(shards: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which documents have the text of one before them, over all shards in their order: (documents,).

    It takes 32 bytes of memory a document, beside the files that are mapped.
    """
    high, low = (np.concatenate([shard[half] for shard in shards]) for half in ("high", "low"))
    order = np.lexsort((low, high))  # keeps the order of equal ones
    high = high[order]
    low = low[order]
    equal = np.zeros(len(order), dtype=bool)
    equal[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    found = np.empty_like(equal)
    found[order] = equal
    return found


def held_out(places: NDArray[np.uint64], share: float, salt: str | None = None) -> NDArray[np.bool_]:
    """Return which documents are held out: those whose place is within the first `share` of all places.

    Where a document lies depends on nothing but its group or text and the salt. Without a salt its place is as the
    digest says; a salt gives each another place.
    """
    if salt is not None:
        key, rows = f"{salt}\n".encode(), places.tobytes()
        salted = (hashlib.sha256(key + rows[at : at + 8]).digest()[:8] for at in range(0, len(rows), 8))
        places = np.fromiter((int.from_bytes(each, "big") for each in salted), dtype=np.uint64, count=len(places))
    return places < np.uint64(math.ceil(share * 2**64))
