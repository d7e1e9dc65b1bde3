"""The machine a run finds itself on: threads, determinism, compilation, and the peak its speed is compared with."""

import logging
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from olmo_core.artifact.job import Placement

log = logging.getLogger(__name__)

# Dense bf16 FLOP/s by the vendors' datasheets.
PEAK_FLOPS = {"H100": 989.5e12, "H200": 989.5e12, "B200": 2250e12, "A100": 312e12, "MI300X": 1307e12}
_SIZE = 1024


def prepare(placement: Placement) -> torch.device:
    """Set threads and deterministic kernels; return the device."""
    torch.set_num_threads(placement.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    return torch.device(placement.device)


def compiled(function: Callable[..., Any], placement: Placement) -> Callable[..., Any]:
    """Return a function compiled by torch, or itself where that is not wanted or no C++ compiler is found."""
    if not placement.compile:
        return function
    if placement.device == "cpu":
        import torch._inductor.config as inductor
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            log.warning("no C++ compiler found, so the training step is not compiled and takes about 1.8 times as long")
            return function
        # One kernel for every thread count: runs with one thread reuse what a run with two has compiled.
        inductor.cpp.dynamic_threads = True
    return torch.compile(function)  # type: ignore[no-any-return]


@cache
def peak_flops(device: str) -> float:
    """Return the bf16 FLOP/s of a device: known for GPUs, else measured by a matrix product, 0.1 s once."""
    if device != "cpu":
        name = torch.cuda.get_device_name()
        known = [peak for part, peak in PEAK_FLOPS.items() if part in name]
        if known:
            return known[0]
    a = torch.randn(_SIZE, _SIZE, device=device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        a @ a
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return float(2 * _SIZE**3 / best)
