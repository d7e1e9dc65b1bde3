"""Checks, before anything is built, that a run fits its mix, ranks and device; errors name what would fit."""

import torch

from olmo_core.model.config import ModelConfig
from olmo_core.train.config import TrainingConfig
from olmo_core.train.memory import free_memory
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.sharing import check_sharing

# Bytes per parameter during training: fp32 weight, gradient and two moments.
TRAINED_BYTES = 16
# Bytes per parameter of the host copy that checkpoints are written from: weight and two moments.
COPIED_BYTES = 12


def check_batch(config: TrainingConfig, placement: TrainPlacement, instances: int, world: int) -> None:
    """Raise ValueError if a batch has more instances than the mix, or cannot be shared by the ranks.

    Args:
        config: config of the run.
        placement: how it runs.
        instances: number of instances in the mix.
        world: number of ranks.
    """
    if config.batch_size > instances:
        raise ValueError(
            f"batch_size is {config.batch_size}, but the mix has only {instances} instances of "
            f"{config.sequence_length} tokens; give at most that many, or the mix more text"
        )
    check_sharing(config, placement, world)


def check_memory(model: ModelConfig, device: torch.device, sharers: int) -> None:
    """Raise ValueError if weights, gradients and moments alone take more memory than the device has free.

    On a CPU, the copy that checkpoints are written from counts too.

    Args:
        model: shape of the model.
        device: device of this rank.
        sharers: ranks that share one copy of the weights.
    """
    each, what = TRAINED_BYTES, "weights, gradients and moments"
    if device.type == "cpu":
        each, what = each + COPIED_BYTES, f"{what}, and the copy of a checkpoint,"
    needed = model.parameters * each // sharers
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    if needed > free:
        remedy = f"share them among at least {-(-needed * sharers // free)} workers (placement.sharding), or use"
        raise ValueError(
            f"a model of {model.parameters / 1e6:,.0f}M parameters takes {needed / 1e9:.1f} GB for its {what} on each "
            f"worker, but {device} has {free / 1e9:.1f} GB free; {remedy} a smaller model"
        )


def more_memory(config: TrainingConfig, placement: TrainPlacement, world: int) -> str:
    """Return the message for a step that did not fit into memory, with the settings that take less."""
    rows = min(placement.micro_batch or config.batch_size, config.batch_size // world)
    remedies = [f"placement.micro_batch {rows // 2}"] if rows > 1 and config.canonical_shards is None else []
    remedies += ["placement.recompute blocks"] if placement.recompute != "blocks" else []
    remedies += ["placement.sharding shard"] if placement.sharding == "replicate" and world > 1 else []
    return (
        f"a forward pass of {rows} sequences of {config.sequence_length} tokens does not fit into the device's memory; "
        f"give {' or '.join(remedies) or 'more workers'}"
    )
