"""The attention mask that keeps attention within a document when an instance packs several."""

from torch import Tensor


def document_mask(ends: Tensor) -> Tensor:
    """Return which keys each query may read, (batch, 1, seq, seq): none after it, and only in the same document.

    Positions count through the whole instance. Rotary attention sees only their differences, and within a document
    these are the same as if it began at position zero.

    Args:
        ends: True at the last token of each document, bool (batch, seq).
    """
    document = ends.cumsum(1) - ends.long()
    same = document.unsqueeze(2) == document.unsqueeze(1)
    return same.tril().unsqueeze(1)
