"""Finds instances that repeat a few tokens many times; they give no gradient (OLMo 2 report, section 3)."""

import numpy as np
from numpy.typing import NDArray

from olmo_core.train.objectives.language_modelling import NgramFilterConfig


def repeats(tokens: NDArray[np.int64], config: NgramFilterConfig) -> NDArray[np.bool_]:
    """Return which rows of token ids (batch, seq) repeat an n-gram too often consecutively, bool (batch,).

    A span of `length` tokens that repeats with period `n` holds `length // n` repetitions of an n-gram, wherever it
    begins and however it ends.
    """
    found = np.zeros(tokens.shape[0], dtype=bool)
    for n in range(1, min(config.max_ngram, tokens.shape[1] - 1) + 1):
        longest = _longest_run(tokens[:, n:] == tokens[:, :-n])
        found |= (longest > 0) & ((longest + n) // n >= config.max_repeats)
    return found


def _longest_run(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the length of the longest run of True in each row."""
    places = np.arange(1, flags.shape[1] + 1)
    last_false = np.maximum.accumulate(np.where(flags, 0, places), axis=1)
    longest: NDArray[np.int64] = (places - last_false).max(axis=1)
    return longest
