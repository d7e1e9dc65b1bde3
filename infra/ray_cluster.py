"""The Ray cluster of a release: the one at the profile's address, or one started here on loopback."""

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from infra.environment import RAY_CLUSTER, in_folder, unset
from infra.patience import Lines
from infra.sockets import own_folder
from olmo_core.artifact.imports import swift_imports

log = logging.getLogger(__name__)

QUIET = {
    "RAY_worker_niceness": "0",  # 15 by default, so that training would hardly precede background work
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a late call of a thread while a release ends would start another cluster
    "RAY_worker_maximum_startup_concurrency": "8",  # with two cores Ray would warn about four times as many processes
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use this environment instead of creating one
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one more process per run, for notices that no laptop gets
    # Defaults of 60 s, 60 s, 30 s, 60 s and 5 times 10 s, which a busy but healthy machine exceeds.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1800",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "600",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # 2 s by default, which delays noticing that a run finished
}
# Ray treats 127.0.0.1 as the address by which others reach this machine and listens on all interfaces, unless clusters
# of several machines are disabled; the variable is named after the systems where that is the default.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
START_TRIES = 5  # a busy machine may need a second one, because Ray allows a node only 30 s
SOCKET_BYTES = 70  # of `/ray/session_2026-11-27_09-03-10_123456_4194304/sockets/plasma_store` and a number
CONNECT_SECONDS = 1800.0  # a cluster that is down for maintenance is back in minutes
PAUSE_SECONDS = 2.0
SIGACTION_BYTES = 1024  # more than a `struct sigaction` has anywhere: 152 on 64-bit Linux
_folders: set[Path] = set()  # of clusters that this process started and has not ended


class Cluster:
    """A connection to Ray; `stop` also ends a cluster that was started here."""

    def __init__(self, address: str | None, cpus: int | None) -> None:
        """Connect to `address`, or start a cluster with `cpus` logical CPUs. Takes about 7 s on two cores."""
        settings = QUIET | (LOOPBACK if address is None or address.startswith(("127.", "localhost")) else {})
        os.environ.update({name: value for name, value in settings.items() if name not in os.environ})
        with swift_imports():
            import ray

        self._folder: Path | None = None
        # Workers import from their driver's current folder; the user's may contain packages with the names of ours.
        with in_folder(Path(__file__).parents[1]), _own_sigterm():
            if address is not None:
                _await_answer(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            else:
                self._start(cpus)

    def _start(self, cpus: int | None) -> None:
        import ray

        unset(*RAY_CLUSTER)
        name = "olmo-ray-"
        short = own_folder(len(f"/{name}12345678") + SOCKET_BYTES)
        for tries_left in reversed(range(START_TRIES)):
            self._folder = Path(tempfile.mkdtemp(prefix=name, dir=short))
            _folders.add(self._folder)
            os.environ["RAY_TMPDIR"] = str(self._folder)
            try:
                with _temporary_files(self._folder):
                    ray.init(
                        num_cpus=cpus,
                        include_dashboard=False,  # only `olmo up` has one: its imports take 7 s on a Zen 3 core
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                    )
                # Ray Train's processes find their cluster by this file, which only `ray start` writes. Without it they
                # use the file of another cluster on this machine, and wait 10 s for that at the end of every run.
                (self._folder / "ray" / "ray_current_cluster").write_text(ray.get_runtime_context().gcs_address)
                return
            except Exception as error:  # Ray has no exception class for a node that takes more than 30 s
                self.stop()
                if not tries_left:
                    raise ConnectionError(f"Ray did not start on this machine: {error}") from error
                log.warning("Ray did not start (%s); trying again", str(error).strip().splitlines()[0])

    def stop(self) -> None:
        """Disconnect, and end the cluster if it was started here."""
        import ray

        with contextlib.suppress(Exception):
            ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            _folders.discard(self._folder)
            del os.environ["RAY_TMPDIR"]


def _await_answer(address: str) -> None:
    """Wait until a cluster at `host:port` answers; do nothing for other forms of address.

    Raises:
        ConnectionError: it does not answer within half an hour.
    """
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():
        return
    show, began = Lines(), time.monotonic()
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=30).close()
            return
        except OSError as error:
            waited = time.monotonic() - began
            if waited > CONNECT_SECONDS:
                raise ConnectionError(f"no Ray cluster answers at {address} ({error}); start it") from error
            show(f"waiting for the Ray cluster at {address} ({error}), {waited:.0f} s")
        time.sleep(PAUSE_SECONDS)


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Restore this process's SIGTERM handler after the block; works in any thread.

    A Ray driver installs a C++ handler in front of it, which logs a stack and aborts a process still alive after 3 s.
    """
    system, handler = ctypes.CDLL(None), ctypes.create_string_buffer(SIGACTION_BYTES)
    system.sigaction(signal.SIGTERM, None, handler)
    try:
        yield
    finally:
        system.sigaction(signal.SIGTERM, handler, None)


@contextlib.contextmanager
def _temporary_files(folder: Path) -> Iterator[None]:
    """Make processes started in this block keep their temporary files in `folder`, to be removed with it.

    Torch's compile cache stays in its default folder, for the next cluster.
    """
    compiled = Path(tempfile.gettempdir()) / f"torchinductor_{psutil.Process().username()}"  # torch's default
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(compiled))
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("TMPDIR")
        os.environ.update({} if before is None else {"TMPDIR": before})


def remove_folders() -> None:
    """Remove the folders of clusters whose processes were killed."""
    for folder in list(_folders):
        shutil.rmtree(folder, ignore_errors=True)
