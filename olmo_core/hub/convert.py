"""Conversion between our checkpoint folders and the files that transformers reads: weights, config and tokenizer.

`mapping` holds the names, `weights` writes the tensors. Nothing here loads a model; `parity` does.
"""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from tokenizers import Tokenizer

from olmo_core.artifact.files import refuse_pointer
from olmo_core.artifact.job import Job
from olmo_core.hub.file_names import CONFIG, TOKENIZER
from olmo_core.hub.mapping import CLASSES, CONSTANTS, MODEL_TYPES, hub_fields, hub_name, native_fields, native_name
from olmo_core.hub.weights import copy_weights, read_json
from olmo_core.model.config import CONFIG_FILE, ModelConfig, padded
from olmo_core.model.load import load_config
from olmo_core.model.transformer import Transformer
from olmo_core.tokens.special_tokens import SPECIAL_TOKENS_FILE, TOKENIZER_FILE
from olmo_core.tokens.tokenizer import without_limits

# The oldest release that reads these files, which must not depend on the installed release. Without a version, 4.57
# warns of a wrong regular expression for every vocabulary above 100,000 ids.
TRANSFORMERS = "4.57.0"


class ConversionError(ValueError):
    """A model cannot be converted."""


def export(job: Job) -> dict[str, Any]:
    """Do the work of the step `export`, whose inputs are `model` and `tokenizer`."""
    model, tokenizer = job.inputs["model"].path, job.inputs["tokenizer"].path
    write_hub_model(model, job.out, job.fields["dtype"], *write_tokenizer(model, tokenizer, job.out))
    config = load_config(model)
    return {
        "architecture": CLASSES[config.architecture],
        "dtype": job.fields["dtype"],
        "parameters": config.parameters,
    }


def write_hub_model(folder: Path, out: Path, dtype: str, eos_id: int, pad_id: int) -> None:
    """Write config.json, generation_config.json and the weights of the checkpoint or soup in `folder` to `out`."""
    config = load_config(folder)
    shapes = {hub_name(name): shape for name, shape in native_shapes(config).items()}
    copy_weights(folder, out, hub_name, shapes, getattr(torch, dtype))
    _write_json(out / CONFIG, hub_config(config, dtype, eos_id, pad_id))
    _write_json(out / "generation_config.json", {"bos_token_id": None, "eos_token_id": eos_id, "pad_token_id": pad_id})


def hub_config(config: ModelConfig, dtype: str, eos_id: int, pad_id: int) -> dict[str, Any]:
    """Return config.json of a model; `rope_theta` is in it twice, for readers before and after transformers 5."""
    return {
        "architectures": [CLASSES[config.architecture]],
        "model_type": MODEL_TYPES[config.architecture],
        **hub_fields(config),
        "vocab_size": config.padded_vocab_size,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"},
        "bos_token_id": None,
        "eos_token_id": eos_id,
        "pad_token_id": pad_id,
        "dtype": dtype,
        "transformers_version": TRANSFORMERS,
        "use_cache": True,
    }


def write_tokenizer(model: Path, tokenizer: Path, out: Path) -> tuple[int, int]:
    """Write the tokenizer files that AutoTokenizer reads; return the ids of end of document and of padding.

    Raises:
        ConversionError: the tokenizer has more ids than the model has rows, or no token for a special id.
    """
    special = json.loads((tokenizer / SPECIAL_TOKENS_FILE).read_bytes())
    config = load_config(model)
    if special["vocab_size"] > config.padded_vocab_size:
        raise ConversionError(
            f"the tokenizer in {tokenizer} has {special['vocab_size']} ids, the model in {model} has rows for "
            f"{config.padded_vocab_size}; export the model with the tokenizer it was trained with"
        )
    added = {
        token["id"]: token["content"] for token in json.loads((tokenizer / TOKENIZER_FILE).read_bytes())["added_tokens"]
    }
    names = {}
    for role in ("eos", "pad"):
        if (number := special[f"{role}_id"]) not in added:
            raise ConversionError(f"{tokenizer / TOKENIZER_FILE} has no special token with the {role} id {number}")
        names[f"{role}_token"] = added[number]
    (out / TOKENIZER).write_bytes(without_limits((tokenizer / TOKENIZER_FILE).read_bytes()))
    _write_json(out / "special_tokens_map.json", names)
    _write_json(
        out / "tokenizer_config.json",
        {
            **names,
            "model_input_names": ["input_ids", "attention_mask"],  # 4.x adds `token_type_ids`, which OLMo rejects.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": config.context_length,
        },
    )
    return special["eos_id"], special["pad_id"]


def read_hub_model(folder: Path, out: Path) -> ModelConfig:
    """Convert a folder that transformers can load to `model.json` and `model.safetensors` (fp32); return the config.

    The vocabulary is that of tokenizer.json if there is one, else the number of embedding rows. The number of rows does
    not change: added rows of zeros would take a share of every softmax.

    Raises:
        ConversionError: the model is not an `Olmo2ForCausalLM` or `OlmoForCausalLM`, or uses a feature that our model
            does not support, such as scaled positions.
    """
    config = read_hub_config(folder)
    copy_weights(folder, out, native_name, native_shapes(config), torch.float32)
    (out / CONFIG_FILE).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return config


def read_hub_config(folder: Path) -> ModelConfig:
    """Return the model that config.json (and the tokenizer) of a folder describe; raises what `read_hub_model` does."""
    path = folder / CONFIG
    if not path.is_file():
        raise ConversionError(f"{folder} has no {CONFIG}; give a folder that transformers can load")
    config = read_json(path)
    architectures = {model_type: architecture for architecture, model_type in MODEL_TYPES.items()}
    if config.get("model_type") not in architectures:
        known = " and ".join(repr(model_type) for model_type in architectures)
        raise ConversionError(f"{path}: model_type is {config.get('model_type')!r}, only {known} can be read")
    for key, value in CONSTANTS.items():
        if config.get(key, value) != value:
            raise ConversionError(f"{path}: {key} is {config[key]!r}, only {value!r} can be read")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise ConversionError(f"{path}: positions are scaled ({rope}), only plain rotary positions can be read")
    try:
        rows = int(config["vocab_size"])
        ids = max(token_names(folder / TOKENIZER)) + 1 if (folder / TOKENIZER).is_file() else rows
        if ids > rows:
            raise ConversionError(
                f"{path}: vocab_size is {rows}, but its tokenizer has {ids} ids; resize the embedding"
            )
        return ModelConfig(
            **native_fields(architectures[config["model_type"]], config),
            vocab_size=ids,
            rows=None if rows == padded(ids) else rows,
            rope_theta=rope.get("rope_theta", config.get("rope_theta")),
        )
    except (ValidationError, KeyError) as error:
        raise ConversionError(f"{path} does not describe an OLMo model: {error}") from error


def token_names(path: Path) -> dict[int, str]:
    """Return id -> token of a tokenizer.json.

    Raises:
        LfsPointerError, ConversionError: the file is a Git LFS pointer, or not a tokenizer; names it.
    """
    content = path.read_bytes()
    refuse_pointer(path, content)
    try:
        return {number: text for text, number in Tokenizer.from_buffer(content).get_vocab().items()}
    except Exception as error:  # the library has no exception class of its own
        raise ConversionError(f"{path} is not a tokenizer that can be read: {error}") from error


def native_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor of a model."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Transformer(config).state_dict().items()}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
