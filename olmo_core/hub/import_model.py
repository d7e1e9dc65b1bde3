"""The work of the step `pretrained`: import a model from a Hub commit or a folder after checking its digests.

`download` fetches a commit; `convert` knows names and shapes. Only safetensors are read, and no code of a repository
is run.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import torch

from olmo_core.artifact.files import name_full_disk, refuse_pointer, sha256_file
from olmo_core.artifact.job import Job
from olmo_core.hub.convert import ConversionError, native_shapes, read_hub_model
from olmo_core.hub.download import download
from olmo_core.hub.file_names import CONFIG, TOKENIZER, WEIGHTS_INDEX
from olmo_core.hub.placement import HubPlacement
from olmo_core.hub.pretrained import PretrainedConfig
from olmo_core.hub.weights import HEAD_BYTES, copy_weights, weight_files
from olmo_core.model.config import CONFIG_FILE, WEIGHTS_FILE, ModelConfig
from olmo_core.model.load import load_config

_WANTED = (CONFIG, TOKENIZER, WEIGHTS_INDEX, "*.safetensors")


def import_pretrained(job: Job) -> dict[str, Any]:
    """Write `model.json` and `model.safetensors`; return architecture, parameters and the sha256 of the files read.

    Raises:
        ConversionError: the folder or the commit has the wrong digest, or its model is not supported.
        ConnectionError: the Hub cannot be reached, or fails.
    """
    config = PretrainedConfig.model_validate(job.fields)
    if config.path is not None:
        folder = Path(config.path).expanduser()
        digest = folder_digest(folder)
        if digest != config.sha256:
            raise ConversionError(
                f"{folder} has the sha256 {digest}, but {config.sha256} in the recipe; correct one of them"
            )
        return _import(folder, job.out) | {"sha256": digest}
    assert config.repo is not None and config.revision is not None
    # Removed before the commit, or with the attempt if it is killed; the system's temporary folder may be too small.
    with tempfile.TemporaryDirectory(prefix="pretrained-", dir=job.out) as cache:
        try:
            folder = download(config.repo, config.revision, _WANTED, cache, HubPlacement.of(job.placement).hub)
            return _import(folder, job.out) | {"sha256": folder_digest(folder)}
        except OSError as error:
            name_full_disk(error, job.out)
            raise


def folder_digest(folder: Path) -> str:
    """Return the sha256 of the lines `digest  name` of a model's files, sorted by name; see `PretrainedConfig`."""
    if (folder / CONFIG_FILE).is_file():
        files = [folder / CONFIG_FILE, folder / WEIGHTS_FILE]
    else:
        optional = [path for path in (folder / WEIGHTS_INDEX, folder / TOKENIZER) if path.is_file()]
        files = [folder / CONFIG, *optional, *weight_files(folder)]
    if missing := [path.name for path in files if not path.is_file()]:
        raise ConversionError(f"{folder} has no {missing[0]}; give a folder that transformers can load")
    for path in files:
        with path.open("rb") as file:
            refuse_pointer(path, file.read(HEAD_BYTES))
    lines = [f"{sha256_file(path)}  {path.name}\n" for path in sorted(files, key=lambda path: path.name)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _import(folder: Path, out: Path) -> dict[str, Any]:
    """Write the model in `folder`, in either form, to `out` in our form."""
    config = _copy(folder, out) if (folder / CONFIG_FILE).is_file() else read_hub_model(folder, out)
    return {"architecture": config.architecture, "parameters": config.parameters}


def _copy(folder: Path, out: Path) -> ModelConfig:
    config = load_config(folder)
    copy_weights(folder, out, str, native_shapes(config), torch.float32)
    (out / CONFIG_FILE).write_bytes((folder / CONFIG_FILE).read_bytes())
    return config
