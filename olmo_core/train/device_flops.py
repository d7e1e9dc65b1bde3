"""A device's peak rate of matrix products, the reference for the utilization of a training step."""

import time
from functools import cache

import torch

from olmo_core.model.arithmetic import matmul

# Dense bf16 FLOP/s from the makers' data sheets; the first key contained in a GPU's name counts. An H200 is an H100
# with more memory.
KNOWN_BF16 = {
    "H100 PCIe": 756e12,
    "H100": 989.5e12,
    "H200": 989.5e12,
    "B200": 2.25e15,
    "A100": 312e12,
    "MI300X": 1307.4e12,
    "MI300A": 980.6e12,
}
_SIDE = {"cpu": 1024, "cuda": 8192}  # Smaller matrices do not keep a GPU busy.


@cache
def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return FLOP/s of matrix products: from the data sheet for a known GPU in bf16, otherwise measured."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        for part, flops in KNOWN_BF16.items():
            if part in name:
                return flops
    return measured_flops(device, dtype)


def measured_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return FLOP/s of the fastest of a few products of two square matrices; takes under 0.3 s on two CPU cores."""
    side = _SIDE[device.type]
    # Random numbers: an H200 that multiplies zeros draws less power and is 13% faster (894 against 788 TFLOP/s).
    a = torch.empty(side, side, device=device, dtype=dtype).normal_(generator=torch.Generator(device).manual_seed(0))
    best = float("inf")
    for _ in range(8):
        begin = time.perf_counter()
        _finish(matmul(a, a))
        best = min(best, time.perf_counter() - begin)
    return 2 * side**3 / best


def _finish(result: torch.Tensor) -> None:
    result[0, 0].item()  # waits for the device
