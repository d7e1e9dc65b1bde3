"""Activation checkpointing: what the backward pass computes a second time, rather than keep from the forward pass."""

from torch import nn
from torch.utils.checkpoint import checkpoint

from olmo_core.model.transformer import Transformer
from olmo_core.train.placement import Recompute


def recompute(model: Transformer, what: Recompute) -> None:
    """Let whole blocks, their feed-forward layers or nothing be computed twice; names and values stay as they are."""
    for block in model.blocks:
        if what == "blocks":
            _forget(block)
        elif what == "feed_forward":
            _forget(block.get_submodule("feed_forward"))


def _forget(module: nn.Module) -> None:
    forward = module.forward
    # Nothing in the network is random, so no generator has to be put back.
    module.forward = lambda *inputs: checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)
