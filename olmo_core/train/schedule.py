"""Learning rate as a pure function of tokens; setting it on an optimizer is left to `trainer`."""

import math

from olmo_core.train.config import ScheduleConfig


def learning_rate(schedule: ScheduleConfig, peak: float, tokens: int, total: int) -> float:
    """Return the rate of the step after which `tokens` have been seen, of a run of `total` tokens.

    Formulas as in the OLMo trainer, with tokens as the unit and the step's own batch counted, so that the first step of
    a warm-up is above zero and the last step of an anneal is at its final rate.
    """
    if tokens <= schedule.warmup:
        return peak * tokens / schedule.warmup
    floor = peak * schedule.final
    end = schedule.horizon or total
    if schedule.kind == "constant":
        return peak
    begin = end - schedule.decay if schedule.decay else schedule.warmup
    done = min(max(tokens - begin, 0) / (end - begin), 1.0) if end > begin else 1.0
    left = (1 + math.cos(math.pi * done)) / 2 if schedule.kind == "cosine" else 1 - done
    return floor + (peak - floor) * left
