"""Batches of a mix in an order that is a pure function of seed and position.

The order of each epoch is a keyed permutation of the mix, computed where it is needed: nothing is stored, the position
is one integer, and going on after a stop costs nothing. A global batch holds the same instances for every world size; a
rank takes every `world`-th of them. What becomes of a batch is left to `train`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from olmo_core.data.mix import Mix
from olmo_core.data.permutation import Permutation

# Instances looked up at once: spreads the cost over small batches, and is small enough not to delay the first.
_BLOCK_INSTANCES = 4096


class LoaderError(ValueError):
    """Token files that are not what the mix says, or a batch that cannot be divided."""


class Loader:
    """Reads global batches of `batch_size` instances of `sequence_length` tokens.

    An instance holds `sequence_length` tokens; targets are the same tokens shifted by one inside it, so its last
    position has no target (as OLMo does). Token files are mapped when first read.

    Args:
        mix: folder of a mix artifact.
        tokens: input of the mix (`corpus/shard`) -> folder of that tokens artifact.
        seed: chooses the order.
        batch_size: instances of one global batch.
        sequence_length: tokens of one instance; must be the mix's.
        vocab_size: of the model; must hold the vocabulary of the token files.

    Raises:
        LoaderError: when one of these does not fit the other.
    """

    def __init__(
        self,
        mix: Path,
        tokens: Mapping[str, Path],
        *,
        seed: int,
        batch_size: int,
        sequence_length: int,
        vocab_size: int,
    ) -> None:
        self.mix = Mix(mix)
        self.seed = seed
        self.batch_size = batch_size
        self.sequence_length = sequence_length
        manifest = self.mix.manifest
        if manifest.sequence_length != sequence_length:
            raise LoaderError(
                f"sequence_length is {sequence_length}, the mix was made for {manifest.sequence_length}; give the same"
            )
        if manifest.vocab_size > vocab_size:
            raise LoaderError(
                f"the model's vocabulary is {vocab_size}, the token files' is {manifest.vocab_size}; "
                f"give the model at least {manifest.vocab_size}"
            )
        if batch_size < 1:
            raise LoaderError(f"batch_size is {batch_size}; give at least 1")
        missing = sorted({file.input for file in self.mix.files} - set(tokens))
        if missing:
            raise LoaderError(f"no folder was given for the token files {missing} of the mix")
        self._dtype = np.dtype(manifest.dtype)
        self._paths = [tokens[file.input] / file.file for file in self.mix.files]
        self._block_steps = max(1, min(_BLOCK_INSTANCES, len(self.mix)) // batch_size)
        empty = np.empty(0, dtype=np.int64)
        self._block = (-1, empty, empty)
        self._maps: dict[int, NDArray[np.unsignedinteger]] = {}

    def __len__(self) -> int:
        """Whole batches of one epoch."""
        return len(self.mix) // self.batch_size

    def order(self, start: int, stop: int) -> NDArray[np.int64]:
        """Numbers, within the mix, of the instances at positions `start` to `stop` (from 0, across epochs).

        Every instance comes once an epoch; a batch may hold the end of one epoch and the start of the next.
        """
        epochs, within = np.divmod(np.arange(start, stop, dtype=np.int64), len(self.mix))
        chosen = np.empty_like(within)
        for epoch in range(epochs[0], epochs[-1] + 1):
            order = Permutation(len(self.mix), f"loader/{self.seed}/{epoch}")
            chosen[epochs == epoch] = order(within[epochs == epoch])
        return chosen

    def batch(self, step: int, rank: int = 0, world: int = 1) -> NDArray[np.int64]:
        """The share of `rank` of global batch `step` (from 0): (batch_size / world, sequence_length) int64 token ids.

        Raises:
            LoaderError: when the batch does not divide by `world`, or a file holds an id outside its vocabulary.
        """
        if self.batch_size % world:
            fits = max(n for n in range(1, world) if self.batch_size % n == 0)
            raise LoaderError(f"a batch of {self.batch_size} does not divide by {world} ranks; {fits} would fit")
        files, rows = (places[rank::world] for places in self._places(step))
        batch = np.empty((len(rows), self.sequence_length), dtype=np.int64)
        for file in set(files.tolist()):
            mine = files == file
            batch[mine] = self._read(file, rows[mine])
        return batch

    def _places(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """File and row of each instance of a global batch; looked up for a block of batches at once."""
        block, within = divmod(step, self._block_steps)
        if block != self._block[0]:
            instances = self._block_steps * self.batch_size
            self._block = (block, *self.mix.locate(self.order(block * instances, (block + 1) * instances)))
        mine = slice(within * self.batch_size, (within + 1) * self.batch_size)
        return self._block[1][mine], self._block[2][mine]

    def _read(self, file: int, rows: NDArray[np.int64]) -> NDArray[np.unsignedinteger]:
        ids = self._map(file)[rows]
        if ids.max() >= self.mix.manifest.vocab_size:
            raise LoaderError(
                f"{self._paths[file]} holds id {ids.max()}, its vocabulary ends at "
                f"{self.mix.manifest.vocab_size - 1}; it was not written as {self._dtype} with this tokenizer"
            )
        return ids

    def _map(self, file: int) -> NDArray[np.unsignedinteger]:
        """Rows of one token file: (instances, sequence_length), mapped, not read."""
        if file not in self._maps:
            path, about = self._paths[file], self.mix.files[file]
            expected = about.tokens * self._dtype.itemsize
            if path.stat().st_size != expected:
                raise LoaderError(
                    f"{path} has {path.stat().st_size} bytes; {about.tokens} tokens of {self._dtype} are {expected}"
                )
            shape = (about.instances, self.sequence_length)
            self._maps[file] = np.memmap(path, dtype=self._dtype, mode="r", shape=shape)
        return self._maps[file]
