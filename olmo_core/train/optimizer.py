"""AdamW over fp32 weights, as OLMo 2 was trained: every tensor is decayed but the input embedding."""

import torch
from torch import Tensor

from olmo_core.model.transformer import Transformer
from olmo_core.train.config import OptimizerConfig

EMBEDDING = "embeddings.weight"


def build_optimizer(config: OptimizerConfig, model: Transformer) -> torch.optim.AdamW:
    """Return a fused AdamW with the rate still at zero; `set_rate` comes before every step."""
    named = dict(model.named_parameters())
    kept = {EMBEDDING} if not config.decay_embeddings else set()
    groups = [
        {"params": [named[name] for name in named if name not in kept], "weight_decay": config.weight_decay},
        {"params": [named[name] for name in sorted(kept)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=0.0, betas=config.betas, eps=config.eps, fused=True
    )


def set_rate(optimizer: torch.optim.AdamW, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def moments(optimizer: torch.optim.AdamW, model: Transformer) -> dict[str, Tensor]:
    """Return the state by name: `exp_avg.<tensor>`, `exp_avg_sq.<tensor>`, and `step`, one number for all."""
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        own = optimizer.state[parameter]
        state[f"exp_avg.{name}"] = own["exp_avg"]
        state[f"exp_avg_sq.{name}"] = own["exp_avg_sq"]
        state["step"] = own["step"]
    return state


def load_moments(optimizer: torch.optim.AdamW, model: Transformer, state: dict[str, Tensor]) -> None:
    """Put back what `moments` returned."""
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            "step": state["step"].clone(),
            "exp_avg": state[f"exp_avg.{name}"].to(parameter.device),
            "exp_avg_sq": state[f"exp_avg_sq.{name}"].to(parameter.device),
        }
