"""Handle SIGTERM in a Ray Train worker as in a plain process: the run saves its state and ends as preempted.

Ray Train trains in a thread of the worker. Signals go to the main thread, in which Ray runs the hooks of backends.
"""

import signal
from typing import Any

from ray.train.backend import Backend, BackendConfig

from olmo_core.artifact.imports import swift_imports


class Listening(Backend):
    """Backend of a single worker that handles SIGTERM; its controller need not import torch, 2.5 s on a Zen 3 core."""

    def on_training_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Install the handler in every worker's main thread."""
        worker_group.execute(_listen)


class ListeningConfig(BackendConfig):
    """Settings of a single worker: none."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend that Ray Train sets up."""
        return Listening


def group_config(backend: str) -> BackendConfig:
    """Return the settings of workers that join a torch process group, `nccl` or `gloo`, and handle SIGTERM."""
    from tasks.workers.process_group import ListeningGroupConfig

    return ListeningGroupConfig(backend=backend)


def _listen() -> None:
    """Install the handler; return nothing, because the previous handler cannot be pickled."""
    with swift_imports():
        from olmo_core.train.preemption import ask  # imports torch, which only workers need

    signal.signal(signal.SIGTERM, ask)
