"""Whether a run compiles its training step: unless the profile decides, only long runs do.

Compiled and eager steps differ in their last bits, so the answer depends on recipe and placement, never on a timing.
"""

from olmo_core.model.config import ModelConfig
from olmo_core.train.config import TrainingConfig
from olmo_core.train.placement import TrainPlacement

# FLOPs of a run above which compiling saves more time than it costs, by device. Two Zen 3 cores compile the kernels of
# a model in 30 s, then need 353 ms instead of 440 for 34 GFLOP: they break even at 1.2e13. A GPU takes as long to
# compile and is a thousand times as fast.
PAYS = {"cpu": 1.2e13, "cuda": 1e16}


def compiles(model: ModelConfig, config: TrainingConfig, placement: TrainPlacement) -> bool:
    """Return whether to compile the training step, given a working compiler."""
    if placement.compile is not None:
        return placement.compile
    flops = config.steps * config.batch_tokens * model.flops_per_token(config.sequence_length)
    return flops >= PAYS[placement.device]
