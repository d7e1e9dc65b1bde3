"""Activation checkpointing: activations that the backward pass recomputes instead of keeping them in memory."""

from torch import nn
from torch.utils.checkpoint import checkpoint

from olmo_core.model.transformer import Transformer
from olmo_core.train.placement import Recompute


def recompute(model: Transformer, what: Recompute) -> None:
    """Make the backward pass recompute whole blocks, their feed-forward layers or nothing; names and values stay."""
    for block in model.blocks:
        if what == "blocks":
            _forget(block)
        elif what == "feed_forward":
            _forget(block.get_submodule("feed_forward"))


def _forget(module: nn.Module) -> None:
    forward = module.forward
    # Nothing in the network is random, so no generator state has to be restored.
    module.forward = lambda *inputs: checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)
