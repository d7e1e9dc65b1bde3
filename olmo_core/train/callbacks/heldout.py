"""Bits per byte of held-out text during training, the same numbers as in an evaluation of the checkpoints.

They are a function of the weights, as the loss is, so they belong to the history of the run. Checkpoints keep nothing
of them, because the number of a step determines whether it is measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.distributed.fsdp import FSDPModule

from olmo_core.artifact.job import Artifact
from olmo_core.documents.corpus import read_heldout
from olmo_core.evaluate.perplexity import bits, select, windows
from olmo_core.evaluate.result import Encoder
from olmo_core.evaluate.scorer import Tree, score
from olmo_core.model.transformer import Transformer
from olmo_core.train.callbacks.callback import Callback
from olmo_core.train.config import HeldoutConfig
from olmo_core.train.history import History


@dataclass(frozen=True)
class Text:
    """The scored text of a source: windows of its documents, and their size in bytes of UTF-8."""

    windows: list[Tree]
    bytes: int


def read_texts(config: HeldoutConfig, inputs: Mapping[str, Artifact], length: int) -> dict[str, Text]:
    """Return role -> text for every input `heldout/SOURCE` with text, in windows of at most `length` tokens.

    Raises:
        ValueError: no input has text.
    """
    encode = Encoder(inputs["tokenizer"].path)
    texts = {}
    for role in sorted(inputs):
        if role.startswith("heldout/"):
            documents = read_heldout(inputs[role].path)
            chosen = select(documents, config.source_bytes, config.document_bytes).documents
            tokens = encode([document.text for document in chosen])
            requests = [each for ids in tokens for each in windows(ids, encode.eos, length)]
            if size := sum(document.bytes for document in chosen):
                texts[role] = Text([Tree.of([each]) for each in requests], size)
    if not texts:
        raise ValueError("heldout needs held-out text, but no corpus has any; set corpora.*.heldout above 0")
    return texts


class Heldout(Callback):
    """Adds `heldout/SOURCE/bits_per_byte` to the history, once every `every` steps.

    Scoring is that of `evaluate.result`: the same documents, the same windows, fp32. Every rank scores all text,
    because a forward pass through sharded weights needs all ranks.
    """

    def __init__(
        self, every: int, texts: Mapping[str, Text], model: Transformer, threads: int, history: History
    ) -> None:
        self._every, self._texts, self._model, self._threads, self._history = every, texts, model, threads, history

    def after(self, update: int) -> None:
        """Score if `update` is a multiple of `every`; waits for the device."""
        if update % self._every == 0:
            # Windows have many lengths, and each would be compiled.
            with torch.compiler.set_stance("force_eager"):
                found = {f"{role}/bits_per_byte": self._bits_per_byte(text) for role, text in self._texts.items()}
            self._history.note(update, found)

    def _bits_per_byte(self, text: Text) -> float:
        scores = score(self._model, text.windows, self._threads)
        if isinstance(self._model, FSDPModule):
            self._model.reshard()  # weights gathered without gradients cannot be trained
        return bits(sum(value for [value] in scores)) / text.bytes
