"""SIGTERM to a worker of Ray Train, taken as in a plain process: the run saves what it has, and ends as preempted.

Ray Train trains in a thread of the worker, and signals go to the main one, which Ray lends to backends.
"""

import signal
from typing import Any

from ray.train.backend import Backend, BackendConfig
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from olmo_core.train.preemption import ask


class PreemptibleBackend(_TorchBackend):
    """Torch's process group, and workers that listen."""

    def on_training_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Have every worker's main thread listen, once the group is there."""
        super().on_training_start(worker_group, backend_config)
        worker_group.execute(_listen)


class PreemptibleConfig(TorchConfig):
    """Settings of the process group."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray Train is to set up."""
        return PreemptibleBackend


def _listen() -> None:
    """Nothing is returned: handlers cannot be sent."""
    signal.signal(signal.SIGTERM, ask)
