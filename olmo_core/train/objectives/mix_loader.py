"""The loader of a run's mix, for objectives that draw from token files."""

from collections.abc import Mapping
from pathlib import Path

from olmo_core.artifact.job import Job
from olmo_core.model.config import ModelConfig
from olmo_core.tokens.loader import Loader
from olmo_core.tokens.token_file import read_token_files
from olmo_core.train.config import TrainingConfig


def mix_loader(job: Job, config: TrainingConfig, model: ModelConfig, *, ends: bool = False) -> Loader:
    """Return the loader of a run's mix.

    Args:
        job: its inputs are the mix and the token files.
        config: config of the run.
        model: shape of the model.
        ends: whether batches mark the ends of documents.

    Raises:
        ValueError: mix, token files, run and model do not fit together.
    """
    folders = {role: artifact.path for role, artifact in job.inputs.items() if artifact.step.kind == "tokens"}
    eos_id = _eos_id(folders)
    return Loader(
        job.inputs["mix"].path,
        folders,
        seed=config.seed,
        batch_size=config.batch_size,
        sequence_length=config.sequence_length,
        vocab_size=model.vocab_size,
        eos_id=eos_id if ends else None,
    )


def _eos_id(folders: Mapping[str, Path]) -> int:
    """Return the id that ends a document, the same in all token files."""
    ids = {role: file.eos_id for role, folder in folders.items() for file in read_token_files(folder)}
    if len(set(ids.values())) != 1:
        raise ValueError(f"token files end documents with different ids, {ids}; make them with one tokenizer")
    return next(iter(ids.values()))
