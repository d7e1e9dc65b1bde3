"""AdamW over fp32 weights, its decay groups, and its state by parameter name. `trainer` sets the learning rate."""

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from olmo_core.train.config import OptimizerConfig

UNDECAYED = "embeddings.weight"
MOMENTS = ("exp_avg", "exp_avg_sq")


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> AdamW:
    """Return AdamW over all parameters, with the input embedding in a separate group and zero moments."""
    named = dict(model.named_parameters())
    embedding_decay = config.weight_decay if config.decay_embeddings else 0.0
    optimizer = AdamW(
        [
            {"params": [p for name, p in named.items() if name != UNDECAYED], "weight_decay": config.weight_decay},
            {"params": [named[UNDECAYED]], "weight_decay": embedding_decay},
        ],
        lr=0.0,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )
    for parameter in named.values():
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            **{moment: torch.zeros_like(parameter) for moment in MOMENTS},
        }
    return optimizer


def moments(model: nn.Module, optimizer: AdamW) -> dict[str, Tensor]:
    """Return `exp_avg.NAME` and `exp_avg_sq.NAME` of every parameter; the tensors the optimizer uses, not copies."""
    return {
        f"{moment}.{name}": optimizer.state[parameter][moment]
        for moment in MOMENTS
        for name, parameter in model.named_parameters()
    }


def updates(optimizer: AdamW) -> int:
    """Return how many updates the moments have seen; bias correction depends on it."""
    return int(next(iter(optimizer.state.values()))["step"].item())


def set_updates(optimizer: AdamW, updates: int) -> None:
    """Set how many updates the moments have seen."""
    for state in optimizer.state.values():
        state["step"].fill_(updates)
