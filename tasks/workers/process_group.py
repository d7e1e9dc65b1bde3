"""Ray Train workers that join a torch process group and handle SIGTERM."""

from typing import Any

from ray.train.backend import Backend, BackendConfig
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from tasks.workers.preemption import Listening


class ListeningGroup(_TorchBackend):
    """Backend that sets up torch's process group and the handler of SIGTERM."""

    def on_training_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Install the handler in every worker's main thread once the group is set up."""
        super().on_training_start(worker_group, backend_config)
        Listening().on_training_start(worker_group, backend_config)


class ListeningGroupConfig(TorchConfig):
    """Settings of the process group."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend that Ray Train sets up."""
        return ListeningGroup
