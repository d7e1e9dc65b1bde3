"""The speed of a machine, as needed for a prediction; `train.machine_rate` measures it."""

from collections.abc import Mapping
from dataclasses import dataclass

# Seconds of `machine_rate.plain_seconds` on the reference machine of `estimate`, a core of an AMD EPYC (Zen 3).
REFERENCE_SECONDS = 0.068
# Two threads that share a core of it multiply 1.5 times as fast as one (fp32, 1024^3: 122 against 76 GFLOP/s), two
# whole cores 1.9 times; this exponent is between the two.
THREADS_POWER = 0.8


@dataclass(frozen=True)
class Machine:
    """A machine that runs a recipe.

    Attributes:
        name: processor, cores and instruction set, for people.
        cores: CPUs that this process may use.
        rates: precision -> FLOP/s of one thread in the matrix products of the recipe.
        pace: seconds for single-threaded work without products that takes one second on the reference machine.
    """

    name: str
    cores: int
    rates: Mapping[str, float]
    pace: float = 1.0

    def rate(self, precision: str, threads: float) -> float | None:
        """Return FLOP/s of products with this number of threads; None if the precision was not measured."""
        one = self.rates.get(precision)
        return None if one is None else one * min(threads, self.cores) ** THREADS_POWER
