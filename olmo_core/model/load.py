"""Loading and saving a model in a folder: `model.json` (the config) and `model.safetensors` (the weights, our names).

Optimizer state and positions belong to `olmo_core.train.checkpoint.state`, other formats to `olmo_core.hub`.
"""

from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from olmo_core.model.config import CONFIG_FILE, WEIGHTS_FILE, ModelConfig
from olmo_core.model.transformer import Transformer


def load_model(folder: Path, device: str = "cpu") -> Transformer:
    """Return the model in the folder of a checkpoint or soup, in evaluation mode, with weights as stored (fp32).

    Raises:
        ValueError: a file is missing, or its tensors do not match the config; names the file and the tensor.
    """
    config = load_config(folder)
    with torch.device("meta"):
        model = Transformer(config)
    weights = load_weights(folder, config, device)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def load_config(folder: Path) -> ModelConfig:
    """Return the config in `model.json`.

    Raises:
        ValueError: the file is missing or is not a model config; names the file.
    """
    path = _existing(folder / CONFIG_FILE)
    try:
        return ModelConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ValueError(f"{path} is not a model config: {error}") from error


def load_weights(folder: Path, config: ModelConfig, device: str = "cpu") -> dict[str, Tensor]:
    """Return name -> tensor of `model.safetensors`, with every name and shape checked against `config`.

    Raises:
        ValueError: the file is missing, or a tensor does not match; names the file and the tensor.
    """
    path = _existing(folder / WEIGHTS_FILE)
    weights = load_file(path, device=device)
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in Transformer(config).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{path}: tensor {name} has shape {found.get(name, 'none (missing)')}, but the model config needs "
                f"{expected.get(name, 'no such tensor')}; use weights and config of the same model"
            )
    return weights


def save_model(folder: Path, config: ModelConfig, weights: dict[str, Tensor]) -> None:
    """Write `model.json` and `model.safetensors` into an existing folder; equal weights give equal bytes."""
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, folder / WEIGHTS_FILE)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}; give the folder of a checkpoint or soup")
    return path
