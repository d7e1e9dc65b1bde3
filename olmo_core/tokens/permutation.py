"""A permutation of 0..size-1 determined by a key: any element in constant time, without a table.

A generalised Feistel network permutes a rectangle `rows * columns` just large enough for `size`; the few elements that
land outside `size` go through it again until they land inside (Black and Rogaway, Ciphers with Arbitrary Finite
Domains, 2002). It is not cryptographically secure.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

# Four rounds suffice for large halves (Luby and Rackoff); the other four are for the few bits of a small data set.
_ROUNDS = 8
# Finaliser of SplitMix64 (Steele, Lea and Flood 2014; constants of Stafford's mix 13).
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


class Permutation:
    """A bijection of `range(size)` determined by `key`, the same on every machine.

    Raises:
        ValueError: `size` is not between 1 and 2^60.
    """

    def __init__(self, size: int, key: str) -> None:
        if not 1 <= size <= 2**60:
            raise ValueError(f"a permutation needs a size from 1 to 2^60, got {size}")
        self.size = size
        columns = math.isqrt(size - 1) + 1
        self._columns = np.uint64(columns)
        self._rows = np.uint64(-(-size // columns))
        self._keys = np.frombuffer(hashlib.sha512(key.encode()).digest(), dtype="<u8")[:_ROUNDS].astype(np.uint64)

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the images of `positions` (any shape, each in `range(size)`); same shape.

        Raises:
            IndexError: a position is outside `range(size)`.
        """
        if positions.size and not (positions.min() >= 0 and positions.max() < self.size):
            raise IndexError(f"a position is outside 0..{self.size - 1}")
        landed = self._shuffle(positions.astype(np.uint64))
        while (outside := landed >= self.size).any():
            landed[outside] = self._shuffle(landed[outside])
        return landed.astype(np.int64)

    def _shuffle(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Apply the network once to the rectangle: each round shifts one coordinate by a hash of the other."""
        row, column = values // self._columns, _modulo(values, self._columns)
        for even, odd in zip(self._keys[::2], self._keys[1::2], strict=True):
            row = _modulo(row + _hash(column ^ even), self._rows)
            column = _modulo(column + _hash(row ^ odd), self._columns)
        return row * self._columns + column


def _modulo(values: NDArray[np.uint64], size: np.uint64) -> NDArray[np.uint64]:
    """Return `values % size` in a third of the time: only for `//`, NumPy replaces division by multiplication."""
    return values - values // size * size


def _hash(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return 63 well-mixed bits of each value; the free bit leaves room to add a coordinate."""
    values = (values ^ (values >> _SHIFTS[0])) * _MIX[0]
    values = (values ^ (values >> _SHIFTS[1])) * _MIX[1]
    return (values ^ (values >> _SHIFTS[2])) >> np.uint64(1)
