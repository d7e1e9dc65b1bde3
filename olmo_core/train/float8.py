"""Matrix products of the blocks in float8, with torchao: one scale per tensor, e4m3 forward, e5m2 for gradients.

Everything else is as in bf16: weights, moments and sums stay fp32; embedding, norms and head are unchanged. torchao is
imported only here, and only by a run with `precision: float8`.
"""

import torch
from torch import nn

from olmo_core.model.transformer import Transformer

CAPABILITY = (8, 9)  # of the first GPUs with float8 products (Ada, Hopper: torch._scaled_mm)
MULTIPLE = 16  # _scaled_mm needs both sides of a matrix to be a multiple of it


def to_float8(model: Transformer, device: torch.device) -> None:
    """Replace the linear layers of all blocks by float8 ones; names and weights stay.

    Raises:
        ValueError: the device has no float8 products, or a side of a layer is not a multiple of 16.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if capability is None or capability < CAPABILITY:
        has = f"{device} has none" if capability is None else f"{device} has {capability[0]}.{capability[1]}"
        raise ValueError(f"precision is float8, which needs a GPU of compute capability 8.9, but {has}; give bf16")
    for name, module in model.blocks.named_modules():
        if isinstance(module, nn.Linear) and (module.in_features % MULTIPLE or module.out_features % MULTIPLE):
            raise ValueError(
                f"precision is float8, but blocks.{name} is {module.out_features} x {module.in_features}; "
                f"give a width and a hidden_size that are multiples of {MULTIPLE}, or bf16"
            )
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    convert_to_float8_training(model.blocks, config=Float8LinearConfig.from_recipe_name("tensorwise"))
