"""The process a run trains in: determinism, threads, memory, and whether and how it can compile.

Nothing here knows of models or data. What is set is put back afterwards, but for the allocator, whose setting only
decides how soon freed memory goes back to the system.
"""

import ctypes
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._functorch import config as partitioner

from olmo_core.artifact.job import Placement
from olmo_core.train.compiler import compiler_trouble

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # Parameters of glibc's mallopt(3).
_KEEP_BYTES = 2**31 - 1
# What a compiled forward pass may keep for the backward pass, as a share of what it would by default. Below one, what
# is elementwise is computed again (bf16 copies of weights, gated products, weights of attention): a step of 60m takes
# 298 MB beside weights and moments instead of 567, and as long. A GPU has memory to spare.
_KEPT = {"cpu": 0.99, "cuda": 1.0}


@contextmanager
def training_process(placement: Placement) -> Iterator[None]:
    """Make this process give the same bits every time, with the placement's threads, and put its settings back."""
    was = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with a fixed workspace.
    torch.set_num_threads(placement.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _keep_freed_memory()
    try:
        # A backward pass computes in the types of its operands; autocast would round what `arithmetic` has widened.
        with partitioner.patch(activation_memory_budget=_KEPT[placement.device], backward_pass_autocast="off"):
            yield
    finally:
        torch.set_num_threads(was[0])
        torch.use_deterministic_algorithms(was[1])
        torch.utils.deterministic.fill_uninitialized_memory = was[2]  # type: ignore[attr-defined]


def _keep_freed_memory() -> None:
    """Let malloc reuse the buffers of the last step instead of asking the system for zeroed pages at every step.

    Page faults took a quarter of the step of a 7M-parameter model on 2 cores (10.4k against 13.4k tokens/s).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def can_compile() -> bool:
    """Return whether there is a C++ compiler that works; one logged line where there is none."""
    if trouble := compiler_trouble():
        log.warning("training without torch.compile: %s", trouble)
        return False
    return True
