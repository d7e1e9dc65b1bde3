"""The learning rate as a pure function of progress; `trainer` sets it on the optimizer."""

import math

from olmo_core.train.config import ScheduleConfig


def learning_rate(schedule: ScheduleConfig, peak: float, done: int, total: int) -> float:
    """Return the rate of the step after which `done` of the `total` units of a run are done.

    The formulas are those of the OLMo trainer. `done` includes the step itself, so that the first step of a warm-up is
    above zero and the last step of an anneal is at its final rate. Both numbers are in the schedule's unit.
    """
    if done <= schedule.warmup:
        low = peak * schedule.warmup_from
        return low + (peak - low) * done / schedule.warmup
    if schedule.kind == "constant":
        return peak
    floor = peak * schedule.final
    end = schedule.horizon or total - schedule.rest
    begin = end - schedule.decay if schedule.decay else schedule.warmup
    fallen = min(max(done - begin, 0) / (end - begin), 1.0) if end > begin else 1.0
    left = (1 + math.cos(math.pi * fallen)) / 2 if schedule.kind == "cosine" else 1 - fallen
    return floor + (peak - floor) * left
