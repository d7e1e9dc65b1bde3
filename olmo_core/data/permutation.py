"""A permutation of 0..size-1 that is a function of its key: any element in constant time, no table.

A Feistel network permutes the smallest power of four that holds `size`; elements that land outside are sent through it
again until they land inside (cycle walking: Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002), fewer than
four passes on average. It makes an order, not a secret.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

# Luby and Rackoff need four rounds for large halves; the two more are for the few bits of a small data set.
_ROUNDS = 6
# Finaliser of SplitMix64 (Steele, Lea and Flood 2014; constants of Stafford's mix 13).
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


class Permutation:
    """A bijection of `range(size)` chosen by `key`; equal on every machine.

    Raises:
        ValueError: when `size` is not between 1 and 2^62.
    """

    def __init__(self, size: int, key: str) -> None:
        if not 1 <= size <= 2**62:
            raise ValueError(f"a permutation needs a size from 1 to 2^62, got {size}")
        half = max(1, ((size - 1).bit_length() + 1) // 2)
        self.size = size
        self._half = np.uint64(half)
        self._mask = np.uint64((1 << half) - 1)
        self._keys = np.frombuffer(hashlib.sha512(key.encode()).digest(), dtype="<u8")[:_ROUNDS].astype(np.uint64)

    def __call__(self, positions: NDArray[np.integer]) -> NDArray[np.int64]:
        """Where the elements `positions` (any shape, each in `range(size)`) land, as int64 of the same shape.

        Raises:
            IndexError: when a position is outside.
        """
        if positions.size and not (positions.min() >= 0 and positions.max() < self.size):
            raise IndexError(f"a position is outside 0..{self.size - 1}")
        landed = self._shuffle(positions.astype(np.uint64))
        outside = landed >= self.size
        while outside.any():
            landed[outside] = self._shuffle(landed[outside])
            outside = landed >= self.size
        return landed.astype(np.int64)

    def _shuffle(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mix(right ^ key) & self._mask)
        return left << self._half | right


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> _SHIFTS[0])) * _MIX[0]
    values = (values ^ (values >> _SHIFTS[1])) * _MIX[1]
    return values ^ (values >> _SHIFTS[2])
