"""Clusters of documents that are nearly equal: those connected by shared bands, directly or through others."""

import numpy as np
from numpy.typing import NDArray


def near_duplicates(signatures: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which documents are nearly equal to an earlier one, or to one that is: (documents,).

    Takes some 40 bytes of memory per document.

    Args:
        signatures: (documents, bands) hashes of `minhash.band_hashes`.
    """
    first: NDArray[np.int64] = clusters(signatures)
    return np.not_equal(first, np.arange(len(first)))


def clusters(signatures: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the first document of the cluster of each: (documents,); deterministic, and independent of their order."""
    first = np.arange(len(signatures))
    for band in range(signatures.shape[1]):
        column = np.asarray(signatures[:, band])
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        equal = np.flatnonzero(ordered[1:] == ordered[:-1])
        first = _joined(first, order[equal], order[equal + 1])
    return first


def _joined(first: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first documents after joining the clusters of each pair; halves the paths in every round."""
    while True:
        least = np.minimum(first[one], first[other])
        joined = first.copy()
        np.minimum.at(joined, first[one], least)
        np.minimum.at(joined, first[other], least)
        while not np.array_equal(shorter := joined[joined], joined):
            joined = shorter
        if np.array_equal(joined, first):
            return first
        first = joined
