"""Whether a run compiles its training step: where the profile leaves it open, only a run that is long enough does.

Compiled and eager steps differ in their last bits: the answer follows from recipe and placement, never from a timing.
"""

from olmo_core.model.config import ModelConfig
from olmo_core.train.config import TrainingConfig
from olmo_core.train.placement import TrainPlacement

# FLOPs of a run from which on compiling saves more than it takes, by device. Two Zen 3 cores take 30 s for the kernels
# of a model, and then 353 ms instead of 440 for 34 GFLOP: even at 1.2e13. A GPU compiles as long, and is a thousand
# times as fast.
PAYS = {"cpu": 1.2e13, "cuda": 1e16}


def compiles(model: ModelConfig, config: TrainingConfig, placement: TrainPlacement) -> bool:
    """Return whether the training step is compiled, a compiler provided."""
    if placement.compile is not None:
        return placement.compile
    flops = config.steps * config.batch_tokens * model.flops_per_token(config.sequence_length)
    return flops >= PAYS[placement.device]
