"""Checks that the workers of a run can share its batch; without torch, so that planning can check it too."""

from olmo_core.train.config import TrainingConfig
from olmo_core.train.placement import TrainPlacement


def check_sharing(config: TrainingConfig, placement: TrainPlacement, world: int) -> None:
    """Raise ValueError if a batch cannot be shared by `world` ranks; names what would fit."""
    if config.batch_size % world:
        fits = max(count for count in range(1, world) if config.batch_size % count == 0)
        workers = f"{fits} workers" if fits > 1 else "1 worker"
        raise ValueError(
            f"batch_size {config.batch_size} cannot be shared by {world} workers; {workers} would fit, or a batch_size "
            f"of {-(-config.batch_size // world) * world}"
        )
    if config.canonical_shards is not None:
        if config.canonical_shards % world:
            raise ValueError(
                f"canonical_shards {config.canonical_shards} cannot be shared by {world} workers; give a number of "
                "workers that divides it"
            )
        if placement.sharding != "replicate" or placement.micro_batch is not None:
            raise ValueError(
                f"canonical_shards {config.canonical_shards} decides how a batch is cut, and needs all weights on "
                "every worker; leave placement.sharding and placement.micro_batch at their defaults"
            )
