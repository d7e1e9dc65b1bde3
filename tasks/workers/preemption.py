"""SIGTERM to a worker of Ray Train, taken as in a plain process: the run saves what it has, and ends as preempted.

Ray Train trains in a thread of the worker, and signals go to the main one, which Ray lends to backends.
"""

import signal
from typing import Any

from ray.train.backend import Backend, BackendConfig

from olmo_core.artifact.imports import swift_imports


class Listening(Backend):
    """A worker on its own, which listens; a controller of such need not import torch, 2.5 s on a Zen 3 core."""

    def on_training_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Have every worker's main thread listen."""
        worker_group.execute(_listen)


class ListeningConfig(BackendConfig):
    """Settings of a worker on its own: none."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray Train is to set up."""
        return Listening


def group_config(backend: str) -> BackendConfig:
    """Return the settings of workers that join a process group of torch, `nccl` or `gloo`, and listen."""
    from tasks.workers.process_group import ListeningGroupConfig

    return ListeningGroupConfig(backend=backend)


def _listen() -> None:
    """Nothing is returned: handlers cannot be sent."""
    with swift_imports():
        from olmo_core.train.preemption import ask  # imports torch, which is for workers only

    signal.signal(signal.SIGTERM, ask)
