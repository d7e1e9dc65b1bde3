"""Verify a revision before it gets its name: transformers loads it and computes the logits of the native model.

Both compute a fixed batch of token ids in fp32. If the revision holds bfloat16, the native weights are rounded the same
way first, so that the bounds of fp32 still apply. `publish` decides what to do about a failure.
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

# Relative to the largest logit of a position. In the models of the tests, the order of fp32 sums changes a logit by a
# few 1e-6 of it, and by more in deeper models; a tensor in the wrong place changes it completely.
TOLERANCE = 5e-5
ROWS = 2
LONGEST = 512  # Tokens of a row, unless the context is shorter.
SAMPLE = "The quick brown fox, 1234567 times; naïve café — 東京 🙂\n\n    def f(x):\treturn x<|endoftext|>"


class ParityError(ValueError):
    """An exported model does not compute what the native model computes."""


@dataclass(frozen=True)
class Parity:
    """How closely the two models agree."""

    tokens: int
    largest_difference: float
    argmax_agreement: float


def verify(repo: str, revision: str, cache: Path, native: Path) -> Parity:
    """Load a revision from a Hub cache folder without the network and compare it with the native model.

    Args:
        repo: `organisation/name` on the Hub.
        revision: commit id, 40 hex digits.
        cache: folder in the Hub cache layout that holds it.
        native: folder of the checkpoint or soup it was exported from.

    Raises:
        ParityError: it cannot be loaded, tensors are missing or superfluous, logits differ by more than `TOLERANCE`, an
            argmax differs, the tokenizer gives other ids than its tokenizer.json, or special ids than the config.
    """
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    where = {"revision": revision, "cache_dir": cache, "local_files_only": True, "trust_remote_code": False}
    try:
        native_model = load_model(native)
        with _quiet():
            model, loading = loader.from_pretrained(repo, dtype=torch.float32, output_loading_info=True, **where)
    except Exception as error:  # Loaders raise many kinds of errors for broken files.
        raise ParityError(f"{repo} at {revision} cannot be loaded: {error}") from error
    if mismatched := {key: sorted(map(str, names)) for key, names in loading.items() if names}:
        raise ParityError(f"{repo} at {revision}: tensors do not fit the model: {mismatched}")
    _check_tokenizer(repo, where, model.config)
    stored = json.loads(_file(repo, revision, cache, CONFIG).read_bytes())["dtype"]
    if stored != "float32":
        for parameter in native_model.parameters():
            parameter.data = parameter.data.to(getattr(torch, stored)).float()
    tokens = batch(native_model.config.vocab_size, native_model.config.context_length)
    with torch.inference_mode():
        return compare(native_model(tokens), model.eval()(tokens).logits, f"{repo} at {revision}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing its own progress bar into another progress display."""
    from transformers.utils import logging

    bars: Any = logging
    enabled = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            bars.enable_progress_bar()


def batch(vocab_size: int, context_length: int) -> torch.Tensor:
    """Return the fixed token ids on which models are compared: (ROWS, min(context_length, LONGEST))."""
    shape = (ROWS, min(context_length, LONGEST))
    return torch.from_numpy(np.random.Generator(np.random.PCG64(0)).integers(0, vocab_size, shape))


def compare(native: torch.Tensor, loaded: torch.Tensor, name: str) -> Parity:
    """Compare the logits of two models.

    An argmax also agrees if the native model's two best are closer than the bound, because rounding decides such a tie.

    Args:
        native: (batch, seq, vocab).
        loaded: (batch, seq, vocab).
        name: the revision, for the message.

    Raises:
        ParityError: they differ; names the place and the size of the difference.
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
    # Phrased so that a NaN on either side fails.
    if not bool((difference <= bound).all()) or agreement < 1:
        row, position = divmod(int((difference - bound).amax(-1).argmax()), native.shape[1])
        raise ParityError(
            f"{name}: logits differ from the native model by up to {difference.max():.3g} (row {row}, position "
            f"{position}; allowed {TOLERANCE:g} of the largest), argmax agrees at {agreement:.2%} of positions; "
            "the export is wrong or the files are not those of this model"
        )
    return Parity(native.shape[0] * native.shape[1], difference.max().item(), agreement)


def _check_tokenizer(repo: str, where: dict[str, Any], config: Any) -> None:
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
