"""Energy of a step, for its record: read from the machine's counters if it has any, else estimated from CPU time.

Processors with RAPL count joules for the whole machine; a step gets its share by CPU time. If RAPL is missing or not
readable, a second of CPU time counts as one core's share of the power in the profile. GPUs are read through NVML.
Memory, disks, idle cores and cooling are not counted. A resumed run has the energy of its last part. Steps made in the
process of a flow have none, because its CPU time is not theirs alone.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from olmo_core.artifact.job import Placement
from olmo_core.recipe.carbon import kilograms_per_kwh
from olmo_core.recipe.compute import Compute

RAPL = Path("/sys/class/powercap")
SAMPLE_SECONDS = 60.0  # a RAPL counter wraps after at most 262 kJ, which is 11 minutes at 400 W
JOULES = 3.6e6  # of a kWh


@dataclass(frozen=True)
class Meter:
    """Measures the energy of this process in a block and fills the block's dict at its end; can be pickled.

    Keys: `kwh`, the sum of `cpu_measured_kwh` or `cpu_estimated_kwh` and `gpu_measured_kwh`; `co2e_kg` with a country.

    Attributes:
        watts: power of the machine under load, for the estimate.
        country: country of the electricity, ISO 3166 alpha-3.
        gpus: whether to read the GPUs that this process may use.
        processes: number of processes that do the same work in parallel; readings are multiplied by it.
    """

    watts: float
    country: str | None = None
    gpus: bool = False
    processes: int = 1

    @classmethod
    def of(cls, compute: Compute, placement: Placement, processes: int = 1) -> Self:
        """Return the meter for work at a placement."""
        return cls(compute.speed.watts, compute.country, placement.device == "cuda", processes)

    @contextmanager
    def __call__(self) -> Iterator[dict[str, float]]:
        """Read the counters before and after the block."""
        reading: dict[str, float] = {}
        own, busy = own_seconds(), busy_seconds()
        gpu = gpu_joules() if self.gpus else None
        with Packages(RAPL) as packages:
            yield reading
        own, busy = own_seconds() - own, busy_seconds() - busy
        if packages.joules is not None:
            reading["cpu_measured_kwh"] = packages.joules * min(1.0, own / max(busy, own, 1e-9)) / JOULES
        else:
            reading["cpu_estimated_kwh"] = own * self.watts / (os.cpu_count() or 1) / JOULES
        after = gpu_joules() if gpu is not None else None
        if gpu is not None and after is not None:
            reading["gpu_measured_kwh"] = (after - gpu) / JOULES
        reading.update({part: self.processes * kwh for part, kwh in reading.items()})
        reading["kwh"] = sum(reading.values())
        if self.country is not None:
            reading["co2e_kg"] = reading["kwh"] * kilograms_per_kwh(self.country)


def own_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system


def busy_seconds() -> float:
    """Return the CPU seconds of all processes on this machine since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))


class Packages:
    """Counts the joules of the processor packages while it is open; None if there are no readable counters."""

    def __init__(self, root: Path) -> None:
        # intel-rapl:0 is a package, also on AMD processors; intel-rapl:0:0 is a part of it.
        folders = [path for path in sorted(root.glob("intel-rapl:*")) if path.name.count(":") == 1]
        self.joules: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="energy", daemon=True)
        try:
            self._ranges = {path / "energy_uj": _number(path / "max_energy_range_uj") + 1 for path in folders}
            self._last = {path: _number(path) for path in self._ranges}
        except OSError:
            self._last = {}

    def __enter__(self) -> Self:
        """Start reading every `SAMPLE_SECONDS`, so that no counter wraps unnoticed."""
        if self._last:
            self.joules = 0.0
            self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Read the counters for the last time."""
        self._ended.set()
        if self._last:
            self._thread.join()
            self.read()

    def read(self) -> None:
        """Add the joules since the last reading."""
        for path, last in self._last.items():
            now = _number(path)
            self.joules = (self.joules or 0.0) + (now - last) % self._ranges[path] / 1e6
            self._last[path] = now

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.read()


def _number(path: Path) -> int:
    return int(path.read_text())


def gpu_joules() -> float | None:
    """Return the joules of the GPUs this process may use, since their driver was loaded; None if they do not count."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return float(sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(each) for each in _gpus(pynvml))) / 1000
    except pynvml.NVMLError:
        return None


def _gpus(nvml: Any) -> Iterator[Any]:
    """Yield NVML's handles of the GPUs in CUDA_VISIBLE_DEVICES (numbers or UUIDs), or of all GPUs if it is unset."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        yield from map(nvml.nvmlDeviceGetHandleByIndex, range(nvml.nvmlDeviceGetCount()))
        return
    for each in filter(None, (word.strip() for word in visible.split(","))):
        yield nvml.nvmlDeviceGetHandleByIndex(int(each)) if each.isdigit() else nvml.nvmlDeviceGetHandleByUUID(each)
