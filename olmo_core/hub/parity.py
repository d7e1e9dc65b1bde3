"""The proof before a name appears: transformers loads the revision, and its logits are those of the native model.

A fixed batch of token ids goes through both in fp32. Where the revision holds bfloat16, the native weights are rounded
the same way first, so that the bounds stay those of fp32. What to do about a failure is left to `publish`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from olmo_core.hub.file_names import CONFIG, TOKENIZER
from olmo_core.model.load import load_model

# Of the largest logit of a position. Two orders of fp32 sums differ by a few 1e-6 of it in the models of the tests, and
# by more the deeper a model is; a tensor in the wrong place changes all of it.
TOLERANCE = 5e-5
ROWS = 2
LONGEST = 512  # Tokens of a row; shorter where the context is.
SAMPLE = "The quick brown fox, 1234567 times; naïve café — 東京 🙂\n\n    def f(x):\treturn x<|endoftext|>"


class ParityError(ValueError):
    """A published form does not compute what the native model computes."""


@dataclass(frozen=True)
class Parity:
    """How far the two models were apart."""

    tokens: int
    largest_difference: float
    argmax_agreement: float


def verify(repo: str, revision: str, cache: Path, native: Path) -> Parity:
    """Load a revision from a Hub cache folder without the network and compare it with the native model.

    Args:
        repo: `organisation/name` on the Hub.
        revision: commit id, 40 hex digits.
        cache: folder of the Hub cache layout that holds it.
        native: folder of the checkpoint or soup it was exported from.

    Raises:
        ParityError: it cannot be loaded, tensors are missing or left over, logits differ by more than `TOLERANCE`, an
            argmax differs, the tokenizer gives other ids than its tokenizer.json, or special ids are not the config's.
    """
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    where = {"revision": revision, "cache_dir": cache, "local_files_only": True, "trust_remote_code": False}
    try:
        ours = load_model(native)
        with _quiet():
            model, loading = loader.from_pretrained(repo, dtype=torch.float32, output_loading_info=True, **where)
    except Exception as error:  # Loaders raise all sorts of errors over broken files.
        raise ParityError(f"{repo} at {revision} cannot be loaded: {error}") from error
    if left := {key: sorted(map(str, names)) for key, names in loading.items() if names}:
        raise ParityError(f"{repo} at {revision}: tensors do not fit the model: {left}")
    _same_tokens(repo, where, model.config)
    stored = json.loads(_file(repo, revision, cache, CONFIG).read_bytes())["dtype"]
    if stored != "float32":
        for parameter in ours.parameters():
            parameter.data = parameter.data.to(getattr(torch, stored)).float()
    tokens = batch(ours.config.vocab_size, ours.config.context_length)
    with torch.inference_mode():
        return compare(ours(tokens), model.eval()(tokens).logits, f"{repo} at {revision}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing a bar of its own into somebody else's progress display."""
    from transformers.utils import logging

    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def batch(vocab_size: int, context_length: int) -> torch.Tensor:
    """Return the fixed token ids models are compared on, (ROWS, min(context_length, LONGEST))."""
    shape = (ROWS, min(context_length, LONGEST))
    return torch.from_numpy(np.random.Generator(np.random.PCG64(0)).integers(0, vocab_size, shape))


def compare(native: torch.Tensor, loaded: torch.Tensor, name: str) -> Parity:
    """Compare two logits (batch, seq, vocab).

    An argmax agrees also where the native model's two best are closer than the bounds: rounding decides such a tie.

    Raises:
        ParityError: they differ; says where and by how much.
    """
    if native.shape != loaded.shape:
        raise ParityError(
            f"{name}: logits have shape {tuple(loaded.shape)}, the native model gives {tuple(native.shape)}"
        )
    difference = (native - loaded).abs()
    bound = TOLERANCE * native.abs().amax(-1, keepdim=True)
    chosen = native.gather(-1, loaded.argmax(-1, keepdim=True)).squeeze(-1)
    best = native.amax(-1)
    agreement = (best - chosen <= bound.squeeze(-1)).float().mean().item()
    # Written so that a NaN on either side fails.
    if not bool((difference <= bound).all()) or agreement < 1:
        row, position = divmod(int((difference - bound).amax(-1).argmax()), native.shape[1])
        raise ParityError(
            f"{name}: logits differ from the native model by up to {difference.max():.3g} (row {row}, position "
            f"{position}; allowed {TOLERANCE:g} of the largest), argmax agrees at {agreement:.2%} of positions; "
            "the export is wrong or the files are not those of this model"
        )
    return Parity(native.shape[0] * native.shape[1], difference.max().item(), agreement)


def _same_tokens(repo: str, where: dict[str, Any], config: Any) -> None:
    from transformers import AutoTokenizer

    loaded: Any = AutoTokenizer.from_pretrained(repo, **where)
    for key in ("eos_token_id", "pad_token_id"):
        if getattr(loaded, key) != getattr(config, key):
            raise ParityError(
                f"{repo} at {where['revision']}: {key} is {getattr(config, key)} in config.json and "
                f"{getattr(loaded, key)} in the tokenizer"
            )
    plain = Tokenizer.from_file(str(_file(repo, where["revision"], where["cache_dir"], TOKENIZER)))
    expected, found = plain.encode(SAMPLE).ids, loaded(SAMPLE, verbose=False)["input_ids"]
    if found != expected:
        raise ParityError(
            f"{repo} at {where['revision']}: AutoTokenizer gives {found[:8]}..., its file {expected[:8]}..."
        )


def _file(repo: str, revision: str, cache: Path, name: str) -> Path:
    return Path(cache) / f"models--{repo.replace('/', '--')}" / "snapshots" / revision / name
