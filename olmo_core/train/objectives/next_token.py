"""Cross-entropy of the next token with z-loss: the computation of `language_modelling`."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from olmo_core.artifact.job import Job
from olmo_core.model.config import ModelConfig
from olmo_core.tokens.loader import Batch, Loader
from olmo_core.train.attention_mask import document_mask
from olmo_core.train.forward import Forward
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.objectives.loss import IGNORED, head_loss, shifted_labels, slice_loss
from olmo_core.train.objectives.mix_loader import mix_loader
from olmo_core.train.objectives.ngrams import repeats
from olmo_core.train.objectives.objective import TARGETS, Loss, Objective, Rows


class NextToken(Objective[Batch]):
    """Language modelling on one rank.

    Rows hold `tokens`, ids (sequences, sequence_length), and up to two bool tensors of the same shape: `targets`, which
    tokens to predict, all when absent, and `ends`, the last token of each document.
    """

    def __init__(self, config: LanguageModelling) -> None:
        self.config: LanguageModelling = config
        self._slice_loss = slice_loss

    @property
    def targets(self) -> int:
        """Number of tokens in a global batch that have a next token."""
        return self.config.batch_size * (self.config.sequence_length - 1)

    def batches(self, job: Job, model: ModelConfig) -> Loader:
        """Return the loader of the run's mix."""
        return mix_loader(job, self.config, model, ends=self.config.document_attention)

    def rows(self, batch: Batch) -> Rows:
        """Return a batch as tensors; if the run filters n-grams, repetitive instances have no targets."""
        targets = batch.targets
        if self.config.ngram_filter is not None:
            kept = ~repeats(batch.tokens, self.config.ngram_filter)[:, None].repeat(batch.tokens.shape[1], axis=1)
            targets = kept if targets is None else targets & kept
        given = {"tokens": batch.tokens, "targets": targets, "ends": batch.ends}
        return {name: torch.from_numpy(array) for name, array in given.items() if array is not None}

    def loss(self, forward: Forward, rows: Rows) -> Loss:
        """Return cross-entropy plus z-loss; the sums are `loss`, in nats, and `z_squared`, the squared log-normaliser.

        Raises:
            ValueError: rows lack `ends` though the run has document attention, or have them though it has not.
        """
        if ("ends" in rows) != self.config.document_attention:
            raise ValueError("a run with document_attention needs the ends of documents; other runs must not have them")
        labels = shifted_labels(rows["tokens"], rows.get("targets"))
        readable = document_mask(rows["ends"]) if "ends" in rows else None
        states = forward.states(rows["tokens"], readable).flatten(0, 1)
        total, cross_entropy, z_squared = head_loss(
            states, forward.head, labels.flatten(), self.targets, self.config.z_loss, self._slice_loss
        )
        sums = {"loss": cross_entropy, "z_squared": z_squared}
        if "targets" in rows:
            sums[TARGETS] = (labels != IGNORED).sum() / self.targets
        return Loss(total, sums)

    def columns(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the sums, with `z_squared` replaced by the z-loss that was added to the loss."""
        kept = {name: value for name, value in values.items() if name != "z_squared"}
        return {**kept, "z_loss": self.config.z_loss * values["z_squared"]}

    def compile(self, compiler: Callable[..., Any]) -> None:
        """Compile the loss of a slice of rows."""
        self._slice_loss = compiler(slice_loss)
