"""Learning rate as a function of tokens seen. Formulas as in the OLMo repository (olmo/optim.py), restated."""

import math

from olmo_core.train.config import ScheduleConfig


def rate(config: ScheduleConfig, peak: float, tokens: int, total: int) -> float:
    """Return the learning rate of the step that ends at `tokens` of `total`.

    It rises linearly from zero over the warm-up; after it `linear` and `cosine` fall to `final * peak` at the end,
    `constant` stays, `wsd` stays and falls linearly over its last `decay` share.
    """
    if tokens < config.warmup:
        return peak * tokens / config.warmup
    end = peak * config.final
    done = (tokens - config.warmup) / max(total - config.warmup, 1)
    if config.kind == "constant":
        return peak
    if config.kind == "linear":
        return peak - (peak - end) * done
    if config.kind == "cosine":
        return end + (peak - end) * (1 + math.cos(math.pi * done)) / 2
    left = max(1 - tokens / total, 0.0)
    return peak if left >= config.decay else end + (peak - end) * left / config.decay
