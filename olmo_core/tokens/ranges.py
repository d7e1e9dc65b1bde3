"""Ranges of bytes of files on a disk, in an object store or behind HTTP.

A local file is opened once and read with `pread`: a memory map of a file that is truncated would kill the process, a
read raises an error. Ranges of remote files are requested concurrently by fsspec. `loader` interprets the bytes.
"""

import os
import resource
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from fsspec.core import url_to_fs
from numpy.typing import NDArray

# Tries of a remote range. s3fs itself repeats a request five times; fsspec over HTTP does not.
ATTEMPTS = 4
PAUSE_SECONDS = 0.25  # before the second try; doubles before each further one


class RangeError(OSError):
    """A range of a file that cannot be read."""


def is_remote(address: str) -> bool:
    """Return whether an address is read through fsspec; all others are paths."""
    return "://" in address


class Ranges:
    """Reads ranges of files; thread-safe."""

    def __init__(self) -> None:
        self._opened: dict[str, int] = {}
        self._stores: dict[str, tuple[Any, str]] = {}
        self._room = _Room()
        # Half of the limit: a mix may have thousands of files, and other code needs descriptors too. No limit is -1,
        # which the remainder turns into 2^63 - 1.
        self._keep = resource.getrlimit(resource.RLIMIT_NOFILE)[0] % 2**63 // 2

    def __del__(self) -> None:
        """Close all files."""
        for descriptor in self._opened.values():
            os.close(descriptor)

    def read(self, addresses: Sequence[str], starts: Sequence[int], size: int) -> NDArray[np.uint8]:
        """Return (ranges, size) bytes: those of each file from its start.

        The next call from the same thread overwrites the array.

        Raises:
            RangeError: a file is missing, ends before the range does, or cannot be reached; names file and range.
        """
        read, targets = self._room.of(len(addresses), size)
        try:
            opened = list(map(self._opened.__getitem__, addresses))
        except KeyError:
            opened = list(map(self._open, addresses))
        if -1 not in opened:  # the usual case, without a Python loop: a range of 8 kB takes 2 us
            with suppress(OSError):  # raised again below, with file and range
                if list(map(os.preadv, opened, targets, starts)).count(size) == len(targets):
                    return read
        remote = []
        for number, (address, start, (target,)) in enumerate(zip(addresses, starts, targets, strict=True)):
            if is_remote(address):
                remote.append(number)
            else:
                self._read_local(address, start, target)
        if remote:
            chosen = [addresses[number] for number in remote], [starts[number] for number in remote]
            for number, content in zip(remote, self._read_remote(*chosen, size), strict=True):
                read[number] = np.frombuffer(content, dtype=np.uint8)
        return read

    def _open(self, address: str) -> int:
        """Return the descriptor of a file; -1 if none is kept open for it, or the file does not exist."""
        if address in self._opened or is_remote(address) or len(self._opened) >= self._keep:
            return self._opened.get(address, -1)
        try:
            descriptor = os.open(address, os.O_RDONLY)
        except OSError:
            return -1
        if hasattr(os, "posix_fadvise"):  # without it, 128 kB are read from a disk for each range
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        if self._opened.setdefault(address, descriptor) != descriptor:
            os.close(descriptor)  # another thread was first
        return self._opened[address]

    def _read_local(self, path: str, start: int, target: memoryview) -> None:
        try:
            if path in self._opened:
                found = os.preadv(self._opened[path], (target,), start)
            else:
                with Path(path).open("rb", buffering=0) as file:
                    found = os.preadv(file.fileno(), (target,), start)
        except OSError as error:
            raise _fault(path, start, len(target), error.strerror or str(error)) from error
        if found != len(target):
            why = f"it ends at byte {start + found}; it is truncated or has another type"
            raise _fault(path, start, len(target), why)

    def _read_remote(self, addresses: Sequence[str], starts: Sequence[int], size: int) -> list[bytes]:
        """Return the bytes of each range; failed ranges are requested again."""
        found: list[Any] = [None] * len(addresses)
        missing = list(range(len(addresses)))
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            for number, result in self._ask([(number, addresses[number], starts[number]) for number in missing], size):
                found[number] = result
            missing = [number for number in missing if isinstance(found[number], BaseException)]
            if not missing or not all(_passing(found[number]) for number in missing):
                break
        for address, start, result in zip(addresses, starts, found, strict=True):
            if isinstance(result, BaseException):
                raise _fault(address, start, size, f"{type(result).__name__}: {result}") from result
            if len(result) != size:
                why = f"{len(result)} bytes came; it is truncated, or its server does not support ranges"
                raise _fault(address, start, size, why)
        return found

    def _ask(self, ranges: Sequence[tuple[int, str, int]], size: int) -> list[tuple[int, bytes | BaseException]]:
        """Request ranges (number, address, start), those of one store at once; a failed one gives its exception."""
        stores: dict[int, tuple[Any, list[tuple[int, str, int]]]] = {}
        for number, address, start in ranges:
            if address not in self._stores:
                self._stores[address] = url_to_fs(address)
            store, path = self._stores[address]
            stores.setdefault(id(store), (store, []))[1].append((number, path, start))
        results: list[tuple[int, bytes | BaseException]] = []
        for store, wanted in stores.values():
            numbers, paths, starts = (list(each) for each in zip(*wanted, strict=True))
            ends = [start + size for start in starts]
            results += zip(numbers, store.cat_ranges(paths, starts, ends, on_error="return"), strict=True)
        return results


class _Room(threading.local):
    """Memory that a thread reads into, kept between calls."""

    def __init__(self) -> None:
        self._bytes = np.empty((0, 0), dtype=np.uint8)
        self._targets: list[tuple[memoryview]] = []

    def of(self, count: int, size: int) -> tuple[NDArray[np.uint8], list[tuple[memoryview]]]:
        """Return an array of (count, size) bytes, and each row as `os.preadv` needs it."""
        if self._bytes.shape != (count, size):
            self._bytes = np.empty((count, size), dtype=np.uint8)
            self._targets = [(row.data,) for row in self._bytes]
        return self._bytes, self._targets


def _passing(error: BaseException) -> bool:
    """Return whether a retry may help: not if the store has refused the range."""
    status = getattr(error, "status", 500)
    return not isinstance(error, FileNotFoundError | PermissionError) and (status >= 500 or status == 429)


def _fault(address: str, start: int, size: int, why: str) -> RangeError:
    return RangeError(f"{address}: bytes {start} to {start + size - 1} cannot be read: {why}")


def absolute(address: str) -> str:
    """Return the address with a local path made absolute."""
    return address if is_remote(address) else str(Path(address).expanduser().absolute())
