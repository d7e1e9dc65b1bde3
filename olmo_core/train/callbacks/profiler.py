"""A trace of a few steps, by operator and by kernel, to open in Perfetto or Chrome."""

from pathlib import Path
from types import TracebackType

import torch

from olmo_core.train.callbacks.callback import Callback

# The first steps compile and fill caches; three steps are enough to see what repeats.
WAIT, WARM, TRACED = 9, 1, 3


class Profiler(Callback):
    """Traces steps 11 to 13 after the start and writes `trace-rank<n>.json` into a folder."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._path = folder / f"trace-rank{rank}.json"
        self._profile = torch.profiler.profile(
            schedule=torch.profiler.schedule(wait=WAIT, warmup=WARM, active=TRACED, repeat=1),
            on_trace_ready=self._write,
        )

    def __enter__(self) -> "Profiler":
        """Start counting steps."""
        self._profile.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; a run that ends sooner still writes what it has traced."""
        self._profile.stop()

    def after(self, update: int) -> None:
        """Count the step."""
        self._profile.step()

    def _write(self, profile: torch.profiler.profile) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        profile.export_chrome_trace(str(self._path))
