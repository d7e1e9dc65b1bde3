"""Files of rows of one size without a header, one for each document of a shard: digests, tags, signatures."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def read_rows(path: Path, dtype: DTypeLike, columns: int) -> NDArray[Any]:
    """Return a file of rows of one size, without a header, as a memory-mapped array: (rows, columns).

    Raises:
        ValueError: the file ends in the middle of a row.
    """
    size, row = path.stat().st_size, np.dtype(dtype).itemsize * columns
    if size % row:
        raise ValueError(f"{path} has {size} bytes, not a multiple of {row}; make the step again")
    found = np.memmap(path, dtype=dtype, mode="r") if size else np.empty(0, dtype=dtype)
    return found.reshape(-1, columns)
