"""Digests of the documents of a shard: enough to find duplicates and to choose the held-out documents.

`digests.bin` is an array with one `DIGEST` per document, in document order, and can be memory-mapped. A billion
documents take 32 GB of digests and as much memory; their texts are not read.
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
from olmo_core.documents.rows import read_rows

# `high` and `low` are the first 16 bytes of the text's digest: two of 10^10 texts collide with probability 10^-19.
# `place` is a hash from 0 to 2^64 of the group, or of the text if there is no group; `bytes` is the text's UTF-8 size.
DIGEST = np.dtype([("high", "<u8"), ("low", "<u8"), ("place", "<u8"), ("bytes", "<u8")])
_ROW = struct.Struct("<16sQQ")
# Salt of the place: keeps it independent of the digest of the text.
_PLACE = "heldout"


def digest(text: str, salt: str = "") -> bytes:
    """Return the SHA-256 of a text, ignoring case, spacing and Unicode composition."""
    plain = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    return hashlib.sha256(f"{salt}\n{plain}".encode()).digest()


def digest_row(document: Document) -> bytes:
    """Return a document's row of `digests.bin`."""
    place = int.from_bytes(digest(document.group or document.text, _PLACE)[:8], "big")
    return _ROW.pack(digest(document.text)[:16], place, document.bytes)


def read_digests(path: Path) -> NDArray[Any]:
    """Return the file as a memory-mapped array of `DIGEST`: (documents,).

    Raises:
        ValueError: the file ends in the middle of a row.
    """
    return read_rows(path, DIGEST, 1)[:, 0]


def repeated(shards: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which documents repeat the text of an earlier one, over all shards in order: (documents,).

    Takes 32 bytes of memory per document, in addition to the mapped files.
    """
    high, low = (np.concatenate([shard[half] for shard in shards]) for half in ("high", "low"))
    order = np.lexsort((low, high))  # stable: equal digests keep their order
    high = high[order]
    low = low[order]
    equal = np.zeros(len(order), dtype=bool)
    equal[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    found = np.empty_like(equal)
    found[order] = equal
    return found


def held_out(places: NDArray[np.uint64], share: float, salt: str | None = None) -> NDArray[np.bool_]:
    """Return which documents are held out: those whose place is in the first `share` of all places.

    A place depends only on the document's group or text, and on the salt: with a salt, `places` are hashed again.
    """
    if salt is not None:
        key, rows = f"{salt}\n".encode(), places.tobytes()
        salted = (hashlib.sha256(key + rows[at : at + 8]).digest()[:8] for at in range(0, len(rows), 8))
        places = np.fromiter((int.from_bytes(each, "big") for each in salted), dtype=np.uint64, count=len(places))
    return places < np.uint64(math.ceil(share * 2**64))
