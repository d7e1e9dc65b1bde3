"""The import of one published token file: copied or read in place, its ids, label mask and sidecar checked."""

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
# What is read of a file that stays where it is: ids of another type show in the first few.
_LOOK_BYTES = 1 << 18
_NUMPY_MAGIC = b"\x93NUMPY"
# Fewer may be documents of one token each, with 0 for the end of a document.
_WIDE_IDS = 16


class TokenFilesError(ValueError):
    """A list that names no such files, or a file that does not hold ids of the tokenizer."""


class FileImport:
    """The import of one token file with its label mask and its sidecar."""

    def __init__(self, out: Path, name: str, special: SpecialTokens, in_place: bool, sidecars: bool) -> None:
        """Import nothing yet.

        Args:
            out: folder that files are copied to.
            name: of the copies, without an ending.
            special: of the tokenizer that the file was made with.
            in_place: check the file and read it where it is, instead of copying it.
            sidecars: a `.csv.gz` next to the file says where documents end.
        """
        self.out, self.name, self.special, self.in_place, self.sidecars = out, name, special, in_place, sidecars
        self.dtype = np.dtype(np.uint16 if special.vocab_size <= 2**16 else np.uint32)

    def run(self, address: str, mask: str | None) -> TokenFile:
        """Copy or check the file at an address, and its label mask; return what `tokens.json` has of it.

        Raises:
            TokenFilesError: it ends within an id, holds an id that the tokenizer does not have, or does not fit its
                mask or sidecar; names the file.
            FileNotFoundError: one of them does not exist.
        """
        file, tokens, documents = self._check_in_place(address) if self.in_place else self._copy(address)
        label_mask = None if mask is None else self._mask(mask, tokens)
        ends = None
        if self.sidecars:
            ends, documents = self._sidecar(f"{address.removesuffix('.npy')}.csv.gz", tokens)
        vocab_size, eos_id = self.special.vocab_size, self.special.eos_id
        return TokenFile(file, self.dtype.name, tokens, documents, vocab_size, eos_id, label_mask, ends)

    def _check_in_place(self, address: str) -> tuple[str, int, None]:
        """Check size, first and last ids of a file; return where it is, how many ids it holds, documents uncounted."""
        size, place = _size(address), absolute(address)
        look = min(size, _LOOK_BYTES)
        first, last = (each.tobytes() for each in Ranges().read([place, place], [0, size - look], look))
        self._check_first(address, first)
        self._whole(address, size)
        self._check(address, first + last)
        return place, size // self.dtype.itemsize, None

    def _copy(self, address: str) -> tuple[str, int, int]:
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
        """Refuse a file with a header, or with wider ids: their upper halves would be read as ids 0."""
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
        """Copy or check a label mask; return its name or address."""
        size = _size(address)
        if size != tokens:
            with fsspec.open(address, "rb") as file:
                _check_bare(address, file.read(_LOOK_BYTES))
            raise TokenFilesError(
                f"{address} has {size} bytes, its token file {tokens} tokens; a label mask has a byte for each"
            )
        if self.in_place:
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
