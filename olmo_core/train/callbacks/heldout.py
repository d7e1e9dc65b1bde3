"""Bits per byte of held-out text while a run trains: what its checkpoints will be given when they are evaluated.

The numbers are a function of the weights, as the loss is, so they stand in the history of the run. There is nothing to
keep in a checkpoint: which steps are measured follows from their number alone.
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
    """What is scored of a source: windows of its documents, and how many bytes of UTF-8 they are."""

    windows: list[Tree]
    bytes: int


def read_texts(config: HeldoutConfig, inputs: Mapping[str, Artifact], length: int) -> dict[str, Text]:
    """Return role -> the text of every input `heldout/SOURCE` that has some, in windows of at most `length` tokens.

    Raises:
        ValueError: none has.
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
        raise ValueError(
            "heldout asks for text that is set apart, but no corpus has any; give corpora.*.heldout a share"
        )
    return texts


class Heldout(Callback):
    """Notes `heldout/SOURCE/bits_per_byte` in the history, every so many steps.

    Scored as `evaluate.result` does: same documents, same windows, fp32. Every rank scores all of it, for a forward
    pass through shared weights needs them all.
    """

    def __init__(
        self, every: int, texts: Mapping[str, Text], model: Transformer, threads: int, history: History
    ) -> None:
        self._every, self._texts, self._model, self._threads, self._history = every, texts, model, threads, history

    def after(self, update: int) -> None:
        """Score, if it is time; waits for the device."""
        if update % self._every == 0:
            # Windows are of all lengths, and each would be compiled for.
            with torch.compiler.set_stance("force_eager"):
                found = {f"{role}/bits_per_byte": self._bits_per_byte(text) for role, text in self._texts.items()}
            self._history.note(update, found)

    def _bits_per_byte(self, text: Text) -> float:
        scores = score(self._model, text.windows, self._threads)
        if isinstance(self._model, FSDPModule):
            self._model.reshard()  # what was gathered without gradients cannot be trained on
        return bits(sum(value for [value] in scores)) / text.bytes
