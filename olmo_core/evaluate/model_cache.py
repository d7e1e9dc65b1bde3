"""Cache of the model this process evaluated last: a model has one result per group, so it is likely needed again.

At most one model is cached; it is dropped before another is loaded, so memory never holds two. A model in evaluation
mode has no state except its weights, so its scores do not depend on earlier ones. Importing this module does not import
torch, so a worker that only drops the model stays small.
"""

import threading
from typing import TYPE_CHECKING, NamedTuple

from olmo_core.artifact.job import Artifact

if TYPE_CHECKING:
    from olmo_core.model.transformer import Transformer


class _Key(NamedTuple):
    digest: str
    device: str
    precision: str


_lock = threading.Lock()
_held: "tuple[_Key, Transformer] | None" = None


def model_of(artifact: Artifact, device: str, precision: str) -> "Transformer":
    """Return the model of a checkpoint or soup, ready to score, from the cache or newly loaded.

    Args:
        artifact: verified; its digest identifies the content, wherever the files are.
        device: device for the weights.
        precision: `fp32` or `bf16`.

    Raises:
        ValueError: the artifact is not a model; see `load_model`.
    """
    from olmo_core.model.load import load_model

    global _held
    key = _Key(artifact.record.digest, device, precision)
    with _lock:
        if _held is None or _held[0] != key:
            _held = None
            model = load_model(artifact.path, device=device)
            _held = key, model.bfloat16() if precision == "bf16" else model
        return _held[1]


def drop_model() -> None:
    """Free the cached model, before work that needs the memory."""
    global _held
    with _lock:
        _held = None
