"""Engines that encode texts: `tokenizers` decides the ids, `gigatoken` finds the same ones many times faster.

The fast engine is compared with the reference on the first documents of a shard and on every document that contains
the text of a special token. Where it differs, raises or is not installed, the reference encodes the whole shard. So the
ids never depend on which of them ran.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

CHECKED_DOCUMENTS, CHECKED_BYTES = 256, 1_000_000  # Of each shard, whichever comes first; half a second at most.
# gigatoken 0.10 never empties its cache of words: 30 to 90 MB per 100 MB of English text, 700 MB if no word repeats.
# A new one costs 0.03 s with 8,192 ids, 0.2 s with 100,000.
_RENEWAL_BYTES = 256_000_000
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Encoded(NamedTuple):
    """The ids of several texts.

    Attributes:
        ids: (tokens,) of all texts, one after the other; without special tokens around them.
        ends: (texts,) the position in `ids` where each text ends.
    """

    ids: NDArray[np.uint32]
    ends: NDArray[np.int64]


Engine = Callable[[Sequence[str]], Encoded]


class EngineError(RuntimeError):
    """The fast engine is missing, cannot read the tokenizer, failed, or found other ids than the reference."""


def run_encoder(tokenizer: Tokenizer, vocab_size: int, threads: int, work: Callable[[Engine], _Result]) -> _Result:
    """Return what `work` returns with the fast engine or, after a warning, with the reference.

    Args:
        tokenizer: what decides the ids; whether it recognises special tokens in a text is its own setting.
        vocab_size: every id is below it.
        threads: texts that the reference encodes at the same time; the fast engine uses the calling thread.
        work: called once, or again from the start if the fast engine fails in the middle.

    Raises:
        TypeError: a text contains a lone surrogate.
    """
    reference = Reference(tokenizer, threads)
    try:
        return work(Checked(Fast(tokenizer), reference, vocab_size, _special_texts(tokenizer)))
    except EngineError as error:
        _log.warning("%s; tokenizers encodes the whole shard instead, with the same ids but slower", error)
    return work(reference)


class Reference:
    """Encodes with `tokenizers`."""

    def __init__(self, tokenizer: Tokenizer, threads: int) -> None:
        self._tokenizer = tokenizer
        self._threads = threads

    def __call__(self, texts: Sequence[str]) -> Encoded:
        """Encode texts; each call of the library gets one text, because it would use all cores for more."""
        with ThreadPoolExecutor(self._threads) as pool:
            rows = list(pool.map(self._one, texts))
        ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
        return Encoded(np.concatenate([np.empty(0, np.uint32), *rows]), ends)

    def _one(self, text: str) -> NDArray[np.uint32]:
        [encoding] = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return np.array(encoding.ids, dtype=np.uint32)


class Fast:
    """Encodes with `gigatoken` on the calling thread.

    Raises:
        EngineError: it is not installed, cannot read the tokenizer, or fails.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        fields = msgspec.json.decode(tokenizer.to_str())
        if tokenizer.encode_special_tokens:
            # Then the text of a special token is like any other text: as if there were no such token.
            fields["added_tokens"] = [token for token in fields["added_tokens"] if not token["special"]]
        self._content = msgspec.json.encode(fields)
        self._renew()

    def __call__(self, texts: Sequence[str]) -> Encoded:
        """Encode texts."""
        if self._bytes > _RENEWAL_BYTES:
            self._renew()
        self._bytes += sum(map(len, texts))
        try:
            layout = self._tokenizer.encode_batch(list(texts), parallel=False).layout
            offsets = np.asarray(layout.offsets.data, dtype=np.int64)
            ids = np.asarray(layout.content.data, dtype=np.uint32)
        except BaseException as error:
            raise _fault(error, "gigatoken failed") from error
        return Encoded(ids[offsets[0] : offsets[-1]], offsets[1:] - offsets[0])

    def _renew(self) -> None:
        try:
            import gigatoken

            self._tokenizer = gigatoken.Tokenizer.from_json(self._content)
        except ImportError as error:
            raise EngineError(f"gigatoken cannot be imported: {error}") from error
        except BaseException as error:
            raise _fault(error, "gigatoken cannot read this tokenizer") from error
        self._bytes = 0


class Checked:
    """Encodes with the fast engine, and compares it with the reference where that is worth its time.

    Raises:
        EngineError: they differ, or the fast engine returned what cannot be right.
    """

    def __init__(self, fast: Engine, reference: Engine, vocab_size: int, special: Sequence[str]) -> None:
        self._fast = fast
        self._reference = reference
        self._vocab_size = vocab_size
        self._special = special
        self._beginnings = {text[:2] for text in special}  # few, so that most texts are searched once or twice
        self._documents = self._bytes = 0

    def __call__(self, texts: Sequence[str]) -> Encoded:
        """Encode texts."""
        found = self._fast(texts)
        if len(found.ends) != len(texts) or (len(found.ids) and int(found.ids.max()) >= self._vocab_size):
            raise EngineError("gigatoken returned another number of texts, or an id outside the vocabulary")
        rows = self._checked(texts)
        expected = self._reference([texts[row] for row in rows])
        for row, ids in zip(rows, np.split(expected.ids, expected.ends[:-1]), strict=True) if rows else ():
            start = found.ends[row - 1] if row else 0
            if not np.array_equal(found.ids[start : found.ends[row]], ids):
                raise EngineError(f"gigatoken and tokenizers find other ids for the text {texts[row][:60]!r}...")
        return found

    def _checked(self, texts: Sequence[str]) -> list[int]:
        """Return which texts are compared: the first ones of the shard, and those with the text of a special token."""
        rows = []
        for row, text in enumerate(texts):
            if self._documents < CHECKED_DOCUMENTS and self._bytes < CHECKED_BYTES:
                self._documents += 1
                self._bytes += len(text.encode())
                rows.append(row)
            elif any(beginning in text for beginning in self._beginnings) and any(
                special in text for special in self._special
            ):
                rows.append(row)
        return rows


def _special_texts(tokenizer: Tokenizer) -> list[str]:
    return [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]


def _fault(error: BaseException, what: str) -> BaseException:
    """Return an `EngineError` for what went wrong in the library (a Rust panic is no `Exception`), else the error."""
    if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
        return EngineError(f"{what}: {type(error).__name__}: {error}")
    return error
