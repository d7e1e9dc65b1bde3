"""Estimates with their errors: means, ratios, and intervals of paired differences. Pure functions over numbers.

The uncertainty is that of the choice of documents or questions, never that of the training seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLOCK = 500  # Resamples drawn at a time: bounds memory at 500 x documents numbers.


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; the error is None for a single observation."""

    value: float
    stderr: float | None


@dataclass(frozen=True)
class Interval:
    """A difference, the two ends of its interval, and its standard error, from a bootstrap."""

    difference: float
    low: float
    high: float
    stderr: float


def mean(values: ArrayLike) -> Estimate:
    """Return the mean and standard error of independent values (deviation with n - 1)."""
    x = np.asarray(values, dtype=np.float64)
    if not x.size:
        raise ValueError("no values to take a mean of")
    return Estimate(float(x.mean()), float(x.std(ddof=1) / np.sqrt(x.size)) if x.size > 1 else None)


def ratio(numerators: ArrayLike, denominators: ArrayLike) -> Estimate:
    """Return sum over sum, such as bits over bytes, with the linearised standard error of a ratio estimate.

    The error is sqrt(n / (n - 1) * sum((y - R x)^2)) / sum(x) (Cochran, Sampling Techniques, 3rd ed., section 6.4).
    """
    y, x = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if not x.size or x.sum() <= 0:
        raise ValueError("a ratio needs at least one document with a size above zero")
    value = float(y.sum() / x.sum())
    if x.size == 1:
        return Estimate(value, None)
    spread = np.square(y - value * x).sum() * x.size / (x.size - 1)
    return Estimate(value, float(np.sqrt(spread) / x.sum()))


def paired_interval(
    strata: Sequence[tuple[ArrayLike, ArrayLike]], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Bootstrap a paired difference, the mean over strata of sum(differences) / sum(weights); percentile interval.

    Args:
        strata: for each source, the difference per document (such as bits of one model minus bits of another) and the
            weight per document (such as bytes). Documents are resampled within their source; pairs stay together.
        confidence: share of resamples inside the interval.
        resamples: number of bootstrap samples.
        seed: seed of the draws; equal input gives an equal interval.

    Raises:
        ValueError: a source has fewer than two documents.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    observed, drawn = 0.0, np.zeros(resamples)
    for differences, weights in strata:
        d, w = np.asarray(differences, dtype=np.float64), np.asarray(weights, dtype=np.float64)
        if d.size < 2:
            raise ValueError(f"a paired interval needs at least 2 documents per source; one source has {d.size}")
        observed += float(d.sum() / w.sum()) / len(strata)
        drawn += _resampled(d, w, resamples, random) / len(strata)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(observed, float(low), float(high), float(drawn.std(ddof=1)))


def _resampled(
    d: NDArray[np.float64], w: NDArray[np.float64], resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    even = np.full(d.size, 1 / d.size)
    blocks = []
    for start in range(0, resamples, BLOCK):
        counts = random.multinomial(d.size, even, size=min(BLOCK, resamples - start))
        blocks.append((counts @ d) / (counts @ w))
    return np.concatenate(blocks)
