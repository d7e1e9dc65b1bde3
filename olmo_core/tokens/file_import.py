"""Imports one published token file: copies it or reads it in place, and checks its ids, label mask and sidecar."""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from fsspec.core import url_to_fs
from numpy.typing import NDArray

from olmo_core.artifact.files import refuse_pointer
from olmo_core.tokens.ranges import Ranges, absolute
from olmo_core.tokens.special_tokens import SpecialTokens
from olmo_core.tokens.token_file import ENDS_DTYPE, TokenFile

_CHUNK_BYTES = 1 << 24
# Read from each end of a file that is checked in place; a wrong type of ids shows in the first few.
_LOOK_BYTES = 1 << 18
_NUMPY_MAGIC = b"\x93NUMPY"
# Fewer ids may be documents of one token each, with EOS 0.
_WIDE_IDS = 16


class TokenFilesError(ValueError):
    """A list without usable files, or a file whose ids are not those of the tokenizer."""


class FileImport:
    """The import of one token file with its label mask and its sidecar."""

    def __init__(self, out: Path, name: str, special: SpecialTokens, in_place: bool, sidecars: bool) -> None:
        """Prepare the import; `run` does it.

        Args:
            out: folder that files are copied to.
            name: name of the copies, without suffix.
            special: special tokens of the tokenizer that the file was made with.
            in_place: check the file and read it in place, instead of copying it.
            sidecars: read where documents end from a `.csv.gz` next to the file.
        """
        self.out, self.name, self.special, self.in_place, self.sidecars = out, name, special, in_place, sidecars
        self.dtype = np.dtype(np.uint16 if special.vocab_size <= 2**16 else np.uint32)

    def run(self, address: str, mask: str | None) -> TokenFile:
        """Copy or check the file at an address, and its label mask; return its entry in `tokens.json`.

        Raises:
            TokenFilesError: the file ends within an id, has an id that is not in the tokenizer, or does not fit its
                mask or sidecar; names the file.
            FileNotFoundError: the file, its mask or its sidecar does not exist.
        """
        file, tokens, documents = self._check_in_place(address) if self.in_place else self._copy(address)
        label_mask = None if mask is None else self._mask(mask, tokens)
        ends = None
        if self.sidecars:
            ends, documents = self._sidecar(f"{address.removesuffix('.npy')}.csv.gz", tokens)
        vocab_size, eos_id = self.special.vocab_size, self.special.eos_id
        return TokenFile(file, self.dtype.name, tokens, documents, vocab_size, eos_id, label_mask, ends)

    def _check_in_place(self, address: str) -> tuple[str, int, None]:
        """Check size, first and last ids of a file; return its address and number of ids, and None: not counted."""
        size, place = _size(address), absolute(address)
        look = min(size, _LOOK_BYTES)
        first, last = (each.tobytes() for each in Ranges().read([place, place], [0, size - look], look))
        self._check_first(address, first)
        self._whole(address, size)
        self._check(address, first + last)
        return place, size // self.dtype.itemsize, None

    def _copy(self, address: str) -> tuple[str, int, int]:
        """Copy a file; return its name, its number of ids, and how many of them end a document."""
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
            raise TokenFilesError(f"{address} ends within an id of {self.dtype}; it is truncated or has another type")

    def _check_first(self, address: str, head: bytes) -> None:
        """Refuse a file with a header or with wider ids, whose upper halves would be read as id 0."""
        _check_bare(address, head)
        size = self.dtype.itemsize
        ids = np.frombuffer(head[: len(head) - len(head) % size], dtype=self.dtype)
        if ids.size >= _WIDE_IDS and ids.any() and not ids[1::2].any():
            wide = 8 if size == 4 or not ids[2::4].any() else 4
            raise TokenFilesError(
                f"{address}: every second id is 0, so its ids have {wide} bytes each, not {size}; write them "
                f"as {self.dtype}, `ids.astype({self.dtype.name!r}).tofile(path)`"
            )

    def _check(self, address: str, read: bytes) -> NDArray[Any]:
        ids = np.frombuffer(read, dtype=self.dtype)
        if ids.size and ids.max() >= self.special.vocab_size:
            raise TokenFilesError(
                f"{address} has id {ids.max()}, the tokenizer's largest is {self.special.vocab_size - 1}; it was not "
                f"written as {self.dtype} with this tokenizer"
            )
        return ids

    def _mask(self, address: str, tokens: int) -> str:
        """Copy or check a label mask; return its name or address."""
        size = _size(address)
        if size != tokens:
            with fsspec.open(address, "rb") as file:
                _check_bare(address, file.read(_LOOK_BYTES))
            raise TokenFilesError(
                f"{address} has {size} bytes, its token file {tokens} tokens; a label mask has one byte per token"
            )
        if self.in_place:
            return absolute(address)
        name = f"{self.name}.label_mask.npy"
        with fsspec.open(address, "rb") as source, (self.out / name).open("wb") as out:
            while chunk := source.read(_CHUNK_BYTES):
                if (highest := max(chunk)) > 1:
                    raise TokenFilesError(f"{address} has the byte {highest}; a label mask has 0 or 1 for each token")
                out.write(chunk)
        return name

    def _sidecar(self, address: str, tokens: int) -> tuple[str, int]:
        """Write the ends of the documents of a sidecar; return the name of that file and the number of documents."""
        name, end = f"{self.name}.ends.npy", 0
        ends = np.fromiter(_ends(address), dtype=ENDS_DTYPE)
        end = int(ends[-1]) if len(ends) else 0
        if end != tokens:
            raise TokenFilesError(
                f"{address} ends at token {end}, the token file has {tokens} tokens; the two do not belong together"
            )
        ends.tofile(self.out / name)
        return name, len(ends)


def _check_bare(address: str, head: bytes) -> None:
    refuse_pointer(address, head)
    if head.startswith(_NUMPY_MAGIC):
        raise TokenFilesError(
            f"{address} begins with the header that `np.save` writes; token files and label masks have none, "
            "write them with `array.tofile(path)`"
        )


def _size(address: str) -> int:
    store, path = url_to_fs(address)
    size = store.size(path)
    if size is None:
        raise TokenFilesError(f"{address}: its server does not report the size; copy the file to another place")
    return int(size)


def _ends(address: str) -> Iterator[int]:
    """Yield the end of each document from its row `start,end,...`; it must start where the previous one ends."""
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
                raise TokenFilesError(f"{address}, row {number}: {','.join(row)!r} is not `start,end,...`") from error
            if start != last or end <= start:
                raise TokenFilesError(
                    f"{address}, row {number}: a document from token {start} to {end}, the previous one ends at {last}"
                )
            yield end
            last = end
