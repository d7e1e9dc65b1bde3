"""Batches of a mix in an order that is a pure function of seed and position.

The order of each epoch is a keyed permutation of the mix, computed on demand: nothing is stored, the position is one
integer, and resuming costs nothing. A global batch has the same instances for every world size; a rank takes every
`world`-th of them. `ranges` reads the bytes, `read_ahead` reads batches in advance, and `train` uses them.
"""

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from olmo_core.tokens.mix import Mix, MixFile
from olmo_core.tokens.permutation import Permutation
from olmo_core.tokens.ranges import Ranges, is_remote
from olmo_core.tokens.token_file import ENDS_DTYPE

# Instances looked up at once: few at first, so that the first batch takes 1 ms, then four times as many each time, up
# to the second number, which spreads the cost over small batches.
_FIRST_INSTANCES, _BLOCK_INSTANCES = 64, 4096


class LoaderError(ValueError):
    """Token files that do not match the mix, or a batch that cannot be divided among the ranks."""


class Batch(NamedTuple):
    """A rank's share of a global batch, each (sequences, sequence_length).

    Attributes:
        tokens: int64 ids.
        targets: which tokens are to be predicted, bool; None if all are.
        ends: which tokens are the last of their document, bool; None if the loader has no `eos_id`.
    """

    tokens: NDArray[np.int64]
    targets: NDArray[np.bool_] | None = None
    ends: NDArray[np.bool_] | None = None


class Loader:
    """Reads global batches of `batch_size` instances of `sequence_length` tokens; thread-safe.

    An instance has `sequence_length` tokens; its targets are the same tokens shifted by one, so the last position has
    no target (as in OLMo).

    Attributes:
        masked: whether batches have `targets`, because some token file of the mix has a label mask.
        remote: whether some token file is read through fsspec.

    Args:
        mix: folder of a mix artifact.
        tokens: input of the mix (`corpus/shard`) -> folder of that tokens artifact.
        seed: determines the order.
        batch_size: instances of a global batch.
        sequence_length: tokens of an instance; must be that of the mix.
        vocab_size: vocabulary of the model; at least that of the token files.
        eos_id: the id that ends a document, given if batches are to have `ends`; token files with a sidecar use that
            instead.

    Raises:
        LoaderError: the arguments do not fit the mix.
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
        eos_id: int | None = None,
    ) -> None:
        self.mix = Mix(mix)
        self.seed = seed
        self.batch_size = batch_size
        self.sequence_length = sequence_length
        manifest = self.mix.manifest
        if manifest.sequence_length != sequence_length:
            raise LoaderError(
                f"sequence_length is {sequence_length}, the mix was made for {manifest.sequence_length}; give that"
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
            raise LoaderError(f"tokens has no folder for the inputs {missing} of the mix; give one for each")
        self.masked = any(file.label_mask is not None for file in self.mix.files)
        self._eos_id = eos_id
        self._dtype = np.dtype(manifest.dtype)
        self._folders = {role: str(folder) for role, folder in tokens.items()}
        self._addresses = [self._address(file, file.file) for file in self.mix.files]
        self.remote = any(is_remote(address) for address in self._addresses)
        self._ranges = Ranges()
        self._lock = Lock()
        empty = np.empty(0, dtype=np.int64)
        self._block = (0, empty, empty)
        self._lookup = _FIRST_INSTANCES

    @property
    def instances(self) -> int:
        """Number of instances of the mix."""
        return len(self.mix)

    def __len__(self) -> int:
        """Number of whole batches of an epoch."""
        return len(self.mix) // self.batch_size

    def order(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the numbers, in the mix, of the instances at positions `start` to `stop` (from 0, across epochs).

        Each instance comes once per epoch; a batch may contain the end of one epoch and the start of the next.
        """
        epochs, within = np.divmod(np.arange(start, stop, dtype=np.int64), len(self.mix))
        chosen = np.empty_like(within)
        for epoch in range(epochs[0], epochs[-1] + 1):
            order = Permutation(len(self.mix), f"loader/{self.seed}/{epoch}")
            chosen[epochs == epoch] = order(within[epochs == epoch])
        return chosen

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """Return the share of `rank` of the global batch `step` (from 0): batch_size / world sequences.

        Raises:
            LoaderError: the batch is not divisible by `world`, or a file contains an invalid id or label.
            RangeError: a file cannot be read.
        """
        if self.batch_size % world:
            fits = max(n for n in range(1, world) if self.batch_size % n == 0)
            raise LoaderError(f"a batch of {self.batch_size} is not divisible by {world} ranks; {fits} would fit")
        files, rows = (places[rank::world] for places in self._places(step))
        starts = rows * self.sequence_length
        tokens = self._tokens(files.tolist(), starts)
        return Batch(
            tokens,
            self._targets(files, starts) if self.masked else None,
            self._ends(files, starts, tokens) if self._eos_id is not None else None,
        )

    def _places(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return file and row of each instance of a global batch; looks up a block of batches at once."""
        with self._lock:
            first, files, _ = self._block
            if not first <= step < first + len(files) // self.batch_size:
                count = max(1, self._lookup // self.batch_size) * self.batch_size
                begin = step * self.batch_size
                self._block = (step, *self.mix.locate(self.order(begin, begin + count)))
                self._lookup = min(4 * self._lookup, _BLOCK_INSTANCES)
            first, files, rows = self._block
        mine = slice((step - first) * self.batch_size, (step - first + 1) * self.batch_size)
        return files[mine], rows[mine]

    def _tokens(self, files: list[int], starts: NDArray[np.int64]) -> NDArray[np.int64]:
        width = self._dtype.itemsize
        addresses = list(map(self._addresses.__getitem__, files))
        ids = self._ranges.read(addresses, (starts * width).tolist(), self.sequence_length * width).view(self._dtype)
        if ids.max() >= self.mix.manifest.vocab_size:
            wrong = int(ids.argmax()) // self.sequence_length
            raise LoaderError(
                f"{addresses[wrong]} has id {ids.max()} in tokens {starts[wrong]} to "
                f"{starts[wrong] + self.sequence_length - 1}, its vocabulary ends at "
                f"{self.mix.manifest.vocab_size - 1}; it was not written as {self._dtype} with this tokenizer"
            )
        return ids.astype(np.int64)

    def _targets(self, files: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
        targets = np.ones((len(files), self.sequence_length), dtype=bool)
        masked = np.flatnonzero([self.mix.files[file].label_mask is not None for file in files])
        addresses = [self._address(file, file.label_mask) for file in map(self.mix.files.__getitem__, files[masked])]
        read = self._ranges.read(addresses, starts[masked].tolist(), self.sequence_length)
        if read.size and read.max() > 1:
            wrong = int(read.argmax()) // self.sequence_length
            raise LoaderError(f"{addresses[wrong]} has the byte {read.max()}; a label mask has 0 or 1 for each token")
        targets[masked] = read.view(bool)
        return targets

    def _ends(
        self, files: NDArray[np.int64], starts: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        ends: NDArray[np.bool_] = tokens == self._eos_id
        for number, (index, start) in enumerate(zip(files, starts, strict=True)):
            file = self.mix.files[index]
            if file.ends is not None:
                known = np.memmap(self._address(file, file.ends), dtype=ENDS_DTYPE, mode="r")
                first, last = np.searchsorted(known, (start, start + self.sequence_length), side="right")
                ends[number] = False
                ends[number, known[first:last].astype(np.int64) - start - 1] = True
        return ends

    def _address(self, file: MixFile, name: str | None) -> str:
        """Return the address of the file `name` of a tokens artifact."""
        assert name is not None
        return name if is_remote(name) or name.startswith("/") else f"{self._folders[file.input]}/{name}"
