"""Keeps attention within a document, where several lie in one instance."""

from torch import Tensor


def document_mask(ends: Tensor) -> Tensor:
    """Return where a query may read a key, (batch, 1, seq, seq): not later than itself, and in the same document.

    Positions go on through an instance: rotary attention only sees their differences, which within a document are the
    same as if it began at zero.

    Args:
        ends: which tokens are the last of their document, bool (batch, seq).
    """
    document = ends.cumsum(1) - ends.long()
    same = document.unsqueeze(2) == document.unsqueeze(1)
    return same.tril().unsqueeze(1)
