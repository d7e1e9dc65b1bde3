"""Workers of Ray Train that join a process group of torch and listen for SIGTERM."""

from typing import Any

from ray.train.backend import Backend, BackendConfig
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from tasks.workers.preemption import Listening


class ListeningGroup(_TorchBackend):
    """Torch's process group, and workers that listen."""

    def on_training_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Have every worker's main thread listen, once the group is there."""
        super().on_training_start(worker_group, backend_config)
        Listening().on_training_start(worker_group, backend_config)


class ListeningGroupConfig(TorchConfig):
    """Settings of the process group."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray Train is to set up."""
        return ListeningGroup
