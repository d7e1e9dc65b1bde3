"""The process that trains a run: determinism, threads, memory, and whether it can compile.

Independent of models and data. All settings are restored afterwards, except the allocator's, which only affects how
soon freed memory is returned to the system.
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

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt(3)
_KEEP_BYTES = 2**31 - 1
# How much memory a compiled forward pass may keep for the backward pass, as a fraction of the default. Below one,
# elementwise results are recomputed (bf16 copies of weights, gated products, attention weights): a step of 60m then
# takes 298 MB on top of weights and moments instead of 567, in the same time. A GPU has memory to spare.
_KEPT = {"cpu": 0.99, "cuda": 1.0}


@contextmanager
def training_process(placement: Placement) -> Iterator[None]:
    """Make this process deterministic and set the placement's threads; restore all settings on exit."""
    was = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with a fixed workspace
    torch.set_num_threads(placement.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _keep_freed_memory()
    try:
        # A backward pass uses the dtypes of its operands; autocast would round the ones that `arithmetic` widened.
        with partitioner.patch(activation_memory_budget=_KEPT[placement.device], backward_pass_autocast="off"):
            yield
    finally:
        torch.set_num_threads(was[0])
        torch.use_deterministic_algorithms(was[1])
        torch.utils.deterministic.fill_uninitialized_memory = was[2]  # type: ignore[attr-defined]


def _keep_freed_memory() -> None:
    """Let malloc reuse the buffers of the last step instead of getting zeroed pages from the system at every step.

    Page faults took a quarter of the step of a 7M-parameter model on 2 cores (10.4k against 13.4k tokens/s).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def can_compile() -> bool:
    """Return whether there is a working C++ compiler; log one line if not."""
    if trouble := compiler_trouble():
        log.warning("training without torch.compile: %s", trouble)
        return False
    return True
