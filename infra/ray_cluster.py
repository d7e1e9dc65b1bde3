"""The Ray cluster a release runs on: an address given by the profile, or one started here on loopback."""

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

from infra.environment import RAY_CLUSTER, forget, standing_in
from infra.patience import Lines
from infra.sockets import own_folder
from olmo_core.artifact.imports import swift_imports

log = logging.getLogger(__name__)

QUIET = {
    "RAY_worker_niceness": "0",  # 15 by default, which would leave training little ahead of what runs beside it
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that asks once more while a release ends would start another cluster
    "RAY_worker_maximum_startup_concurrency": "8",  # on two cores Ray would warn of four times as many processes
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers use this environment, not one made anew
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more for each run, for notices that no laptop gets
    # Limits that a busy machine passes without being broken: 60 s, 60 s, 30 s, 60 s, and 5 times 10 s by default.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1800",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "600",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # 2 s by default: a finished run would be noticed that much later
}
# Ray takes 127.0.0.1 for the address others reach this machine by, and listens there and on every other, unless told
# that there are no clusters of several machines; the variable is called after the systems where that is the default.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
START_TRIES = 5  # a busy machine may need a second one: Ray itself gives a node no more than 30 s
SOCKET_BYTES = 70  # of `/ray/session_2026-11-27_09-03-10_123456_4194304/sockets/plasma_store` with a number
CONNECT_SECONDS = 1800.0  # a cluster that is down for maintenance is back in minutes
PAUSE_SECONDS = 2.0
SIGACTION_BYTES = 1024  # more than a `struct sigaction` has anywhere: 152 on 64-bit Linux
_folders: set[Path] = set()  # of the clusters that were started here and not ended


class Cluster:
    """A connection to Ray; `stop` ends the cluster too where it was started here."""

    def __init__(self, address: str | None, cpus: int | None) -> None:
        """Connect to `address`, or start a cluster with `cpus` logical CPUs. Takes about 7 s on two cores."""
        settings = QUIET | (LOOPBACK if address is None or address.startswith(("127.", "localhost")) else {})
        os.environ.update({name: value for name, value in settings.items() if name not in os.environ})
        with swift_imports():
            import ray

        self._folder: Path | None = None
        # Workers import from the folder their driver stands in, and a user's may hold packages called as ours are.
        with standing_in(Path(__file__).parents[1]), _own_sigterm():
            if address is not None:
                _await_answer(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            else:
                self._start(cpus)

    def _start(self, cpus: int | None) -> None:
        import ray

        forget(*RAY_CLUSTER)
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
                        include_dashboard=False,  # of `olmo up` only: its processes import for 7 s on a Zen 3 core
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                    )
                # Ray Train's processes find their cluster by this file, which only `ray start` writes. Without it they
                # take what another cluster of this machine left, and wait 10 s for it at the end of every run.
                (self._folder / "ray" / "ray_current_cluster").write_text(ray.get_runtime_context().gcs_address)
                return
            except Exception as error:  # Ray has no class of its own for a node that was not up in its fixed 30 s
                self.stop()
                if not tries_left:
                    raise ConnectionError(f"Ray did not start on this machine: {error}") from error
                log.warning("Ray did not start (%s); trying again", str(error).strip().splitlines()[0])

    def stop(self) -> None:
        """Disconnect, and end what was started here."""
        import ray

        with contextlib.suppress(Exception):
            ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            _folders.discard(self._folder)
            del os.environ["RAY_TMPDIR"]


def _await_answer(address: str) -> None:
    """Return when a cluster at `host:port` answers; other forms of address are left to Ray.

    Raises:
        ConnectionError: it did not within half an hour.
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
    """Keep the handler of SIGTERM that this process has; may be entered in any thread.

    A driver of Ray puts one before it in C++, which logs a stack, and aborts a process that has not ended in 3 s.
    """
    system, handler = ctypes.CDLL(None), ctypes.create_string_buffer(SIGACTION_BYTES)
    system.sigaction(signal.SIGTERM, None, handler)
    try:
        yield
    finally:
        system.sigaction(signal.SIGTERM, handler, None)


@contextlib.contextmanager
def _temporary_files(folder: Path) -> Iterator[None]:
    """Let processes that are started in this block have their temporary files in a folder, to go with it.

    What torch has compiled stays where it would be, for the next cluster.
    """
    compiled = Path(tempfile.gettempdir()) / f"torchinductor_{psutil.Process().username()}"  # where torch has it
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
