"""What a machine does in a second, as a prediction needs it. Measuring it is left to `train.machine_rate`."""

from collections.abc import Mapping
from dataclasses import dataclass

# Seconds of `machine_rate.plain_seconds` on the machine that the seconds of `estimate` were taken from: a core of an
# AMD EPYC of the Zen 3 kind.
REFERENCE_SECONDS = 0.068
# Two threads of it multiply 1.5 times as much as one (fp32, 1024^3: 122 against 76 GFLOP/s; they share a core), two
# whole cores 1.9 times: between the two.
THREADS_POWER = 0.8


@dataclass(frozen=True)
class Machine:
    """A machine at work on a recipe.

    Attributes:
        name: processor, cores and instruction set, for people.
        cores: CPUs that this process may use.
        rates: precision -> FLOP/s of one thread in the recipe's own products.
        pace: seconds it takes for what takes one on the machine of reference, in work of one thread without products.
    """

    name: str
    cores: int
    rates: Mapping[str, float]
    pace: float = 1.0

    def rate(self, precision: str, threads: float) -> float | None:
        """Return FLOP/s of products by so many threads, None where that precision was not measured."""
        one = self.rates.get(precision)
        return None if one is None else one * min(threads, self.cores) ** THREADS_POWER
