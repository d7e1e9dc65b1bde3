"""The process that sends the outbox to MLflow, so that neither flow nor training ever waits for a tracking server.

It ends soon after its standard input closes, which happens when the process that started it ends for any reason. Events
not sent by then stay in the outbox for the next sender. `mlflow.writer` interprets the events.
"""

import argparse
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from olmo_core.artifact.imports import swift_imports
from tasks.tracking.mlflow.errors import explain, needs_action, status
from tasks.tracking.queue import EventQueue, QueuedEvent, batches, merged
from tasks.tracking.rebuild import rebuild

if TYPE_CHECKING:
    from tasks.tracking.mlflow.writer import MlflowWriter

log = logging.getLogger("sender")

POLL_SECONDS = 5.0  # Longest wait of a live metric; a longer one means fewer and larger calls.
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # Seconds between attempts while the server is unreachable.
WAKE_SECONDS = 2.0  # Between attempts while a caller waits for them.
GRACE_SECONDS = 60.0  # Without any progress after the input has closed.
TRIES = 3  # Of one event with a server that accepts others.
NICE = 10


class Sender:
    """Sends events in order, each until the server has accepted or refused it."""

    def __init__(self, queue: EventQueue, connect: "Callable[[], MlflowWriter]", hide: Callable[[str], str]) -> None:
        """Set up a sender without connecting.

        Args:
            queue: queue of the events to send.
            connect: opens the tracking server; called again after a failure.
            hide: removes secrets from a message.
        """
        self._queue = queue
        self._connect = connect
        self._hide = hide
        self._writer: MlflowWriter | None = None
        self._duplicates = False  # whether a failed call may have created something that was then created again
        self._limited = False
        self._wake = threading.Event()
        self._ending = threading.Event()

    def run(self) -> None:
        """Send events until `end` was called and none are left."""
        while not self._ending.is_set() or self._queue.left():
            try:
                items = self._queue.read()
                for batch in batches(items):
                    self._deliver(batch)
            except OSError as error:  # the position cannot be stored now; events sent twice do no harm
                log.warning("the outbox cannot be used: %s", error)
                items = []
            if not items and not self._ending.is_set():
                self._pause(POLL_SECONDS)

    def watch(self, input_: int) -> None:
        """Wake the sender at every byte of a file descriptor; exit once it is closed and no event is sent any more."""
        while os.read(input_, 1024):
            self._wake.set()
        self.end()
        left, now = sys.maxsize, self._queue.left()
        while now < left:
            left = now
            time.sleep(GRACE_SECONDS)
            now = self._queue.left()
        log.warning("%d events remain for the next sender", now)
        os._exit(1)  # a hanging call must not keep the process alive

    def end(self) -> None:
        """Let `run` return when no events are left."""
        self._ending.set()
        self._wake.set()

    def _deliver(self, batch: Sequence[QueuedEvent]) -> None:
        if not batch[0].event:
            self._queue.refuse(batch[0], "the line is not an event")
            return
        tries, wait = 0, FIRST_WAIT
        while (reason := self._send(batch)) and tries < TRIES:
            self._duplicates = True
            accepts = self._accepts_writes(batch[0].recipe)
            tries += accepts and not self._limited  # A rate limit does not depend on the event.
            self._queue.note("" if accepts else reason)
            self._pause(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        if not reason:
            self._queue.note("")
            self._queue.done(batch[-1])
        elif len(batch) == 1:
            self._queue.refuse(batch[0], reason)
        else:
            for item in batch:
                self._deliver([item])

    def _send(self, batch: Sequence[QueuedEvent]) -> str:
        """Send a batch; return the reason if it failed, else ''."""
        try:
            if self._writer is None:
                self._writer = self._connect()
            for event in merged(batch):
                self._writer.write(event)
                if self._duplicates and event["event"] in ("finished", "failed"):
                    self._writer.remove_duplicates()
                    self._duplicates = False
        except Exception as error:
            reason = self._hide(explain(error))
            self._limited = status(error) == 429
            log.warning("%s up to %d: %s", batch[0].file, batch[-1].end, reason)
            return reason
        return ""

    def _accepts_writes(self, recipe: str) -> bool:
        """Return whether the server accepts any write at the moment; if so, the problem is the event."""
        try:
            self._writer = self._connect()
            self._writer.probe(recipe)
        except Exception:
            self._writer = None
            return False
        return True

    def _pause(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()


class Handle:
    """A running sender process."""

    def __init__(self, process: subprocess.Popen[bytes], queue: EventQueue) -> None:
        self.process = process
        self._queue = queue

    def drain(self, idle_seconds: float) -> int:
        """Wait until all events were sent, or none for `idle_seconds`; return the number of events left.

        A server that refuses events until a person acts gets a few attempts only.
        """
        end, next_wake, before = 0.0, 0.0, -1
        wakes = 0
        while (left := self._queue.left()) and self.process.poll() is None:
            now = time.monotonic()
            if left != before:
                before, end = left, now + idle_seconds
            if now >= end or (wakes > TRIES and needs_action(self.trouble())):
                break
            if now >= next_wake:
                self._wake()
                next_wake = now + WAKE_SECONDS
                wakes += 1
            time.sleep(0.05)
        return left

    def refused(self) -> list[str]:
        """Return why events were refused, one line each; none in a healthy release."""
        return [f"{entry['file']}: {entry['reason']}" for entry in self._queue.refused()]

    def trouble(self) -> str:
        """Return why the server accepts no events at the moment, '' if it does."""
        return self._queue.noted()

    def stop(self, deadline_seconds: float = 5.0) -> None:
        """Let it send what it can before the deadline, then kill it; no event is lost either way."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wake(self) -> None:
        try:
            if self.process.stdin is not None:
                os.write(self.process.stdin.fileno(), b"\n")
        except OSError:
            pass  # the process has ended, which `drain` notices


def start_sender(outbox: Path, tracking_uri: str) -> Handle:
    """Start the process; its messages go to `shipper.log` in the outbox.

    Args:
        outbox: folder of the outbox.
        tracking_uri: address of MLflow; passed by environment, because all users can see a command line.
    """
    outbox.mkdir(parents=True, exist_ok=True)
    with (outbox / "shipper.log").open("ab") as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.tracking.sender", "--outbox", str(outbox.absolute())],
            stdin=subprocess.PIPE,
            stdout=messages,
            stderr=messages,
            env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri},
            cwd=Path(__file__).resolve().parents[2],
            start_new_session=True,  # Ctrl-C reaches only the flow, which then stops this process
        )
    return Handle(process, EventQueue(outbox, tracking_uri))


def hide_credentials(uri: str) -> Callable[[str], str]:
    """Return a function that removes the user and password of `uri` from a message."""
    secret = re.match(r"[^:/]+://([^/@]*)@", uri)
    given = [secret[1], *secret[1].split(":")[1:]] if secret else []
    parts = [part for text in given for part in (text, unquote(text)) if part]

    def hide(message: str) -> str:
        for part in parts:
            message = message.replace(part, "***")
        return message

    return hide


def main(arguments: Iterable[str] | None = None) -> None:
    """Send one outbox to the server in MLFLOW_TRACKING_URI."""
    parser = argparse.ArgumentParser(prog="python -m tasks.tracking.sender", description=__doc__)
    parser.add_argument("--outbox", type=Path, required=True, help="folder of the outbox")
    parser.add_argument("--rebuild", metavar="STORE", help="root of a store whose artifacts are all sent again")
    parser.add_argument("--recipe", help="with --rebuild: the recipe of the artifacts in the store")
    options = parser.parse_args(list(arguments) if arguments is not None else None)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        parser.error(
            "MLFLOW_TRACKING_URI is not set; set it to the address of MLflow, such as sqlite:////path/mlflow.db"
        )
    if (options.rebuild is None) != (options.recipe is None):
        parser.error("--rebuild and --recipe must be given together")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    os.nice(NICE)
    queue = EventQueue(options.outbox, uri)

    def connect() -> "MlflowWriter":
        with swift_imports():
            from tasks.tracking.mlflow.experiment import connect
            from tasks.tracking.mlflow.writer import MlflowWriter

        artifacts = None if uri.startswith("http") else (options.outbox.parent / "mlflow-artifacts").absolute().as_uri()
        return MlflowWriter(connect(uri), artifacts)

    sender = Sender(queue, connect, hide_credentials(uri))
    threading.Thread(target=sender.watch, args=[sys.stdin.fileno()], daemon=True).start()
    with queue.only_reader():
        if options.rebuild:
            rebuild(queue, options.rebuild, options.recipe)
            sender.end()
        sender.run()


if __name__ == "__main__":
    main()
