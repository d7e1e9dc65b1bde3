"""The process that ships the outbox to MLflow, so that neither flow nor training ever waits for a tracking server.

It ends soon after its standard input closes, and that happens when whoever started it is gone, however it went. What
was not shipped by then stays in the outbox for the next one. `mlflow.writer` knows what events mean.
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
from tasks.tracking.mlflow.errors import in_words, lasts, status
from tasks.tracking.queue import EventQueue, QueuedEvent, batches, merged
from tasks.tracking.rebuild import retell

if TYPE_CHECKING:
    from tasks.tracking.mlflow.writer import MlflowWriter

log = logging.getLogger("sender")

POLL_SECONDS = 5.0  # How long a live metric may wait; longer means fewer and larger calls.
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # Seconds between tries while the server is away.
POKE_SECONDS = 2.0  # Between tries while somebody waits for them.
GRACE_SECONDS = 60.0  # Without any progress after the input has closed.
TRIES = 3  # Of one event by a server that takes others.
NICE = 10


class Sender:
    """Sends events in order, each until it was taken or refused."""

    def __init__(self, queue: EventQueue, connect: "Callable[[], MlflowWriter]", hide: Callable[[str], str]) -> None:
        """Connect to nothing yet.

        Args:
            queue: what to send.
            connect: opens the tracking server; called again after it failed.
            hide: takes secrets out of a message.
        """
        self._queue = queue
        self._connect = connect
        self._hide = hide
        self._writer: MlflowWriter | None = None
        self._doubt = False
        self._limited = False
        self._wake = threading.Event()
        self._ending = threading.Event()

    def run(self) -> None:
        """Ship until the input has closed and nothing is left."""
        while not self._ending.is_set() or self._queue.left():
            try:
                items = self._queue.read()
                for batch in batches(items):
                    self._ship(batch)
            except OSError as error:  # how far it came cannot be written down now; what is sent twice does no harm
                log.warning("the outbox cannot be used: %s", error)
                items = []
            if not items and not self._ending.is_set():
                self._pause(POLL_SECONDS)

    def watch(self, input_: int) -> None:
        """Wake at every byte of a file descriptor; end when it closes and nothing is left, or nothing goes on."""
        while os.read(input_, 1024):
            self._wake.set()
        self.end()
        left, now = sys.maxsize, self._queue.left()
        while now < left:
            left = now
            time.sleep(GRACE_SECONDS)
            now = self._queue.left()
        log.warning("%d events are left for the next time", now)
        os._exit(1)  # a call that hangs must not keep the process

    def end(self) -> None:
        """Let `run` return when nothing is left."""
        self._ending.set()
        self._wake.set()

    def _ship(self, batch: Sequence[QueuedEvent]) -> None:
        if not batch[0].event:
            self._queue.refuse(batch[0], "the line is no event")
            return
        tries, wait = 0, FIRST_WAIT
        while (reason := self._problem(batch)) and tries < TRIES:
            self._doubt = True
            there = self._is_there(batch[0].recipe)
            tries += there and not self._limited  # A limit of requests says nothing about the event.
            self._queue.note("" if there else reason)
            self._pause(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        if not reason:
            self._queue.note("")
            self._queue.done(batch[-1])
        elif len(batch) == 1:
            self._queue.refuse(batch[0], reason)
        else:
            for item in batch:
                self._ship([item])

    def _problem(self, batch: Sequence[QueuedEvent]) -> str:
        """Send a batch; return why that failed, '' where it did not."""
        try:
            if self._writer is None:
                self._writer = self._connect()
            for event in merged(batch):
                self._writer.tell(event)
                if self._doubt and event["event"] in ("finished", "failed"):
                    self._writer.settle()
                    self._doubt = False
        except Exception as error:
            reason = self._hide(in_words(error))
            self._limited = status(error) == 429
            log.warning("%s up to %d: %s", batch[0].file, batch[-1].end, reason)
            return reason
        return ""

    def _is_there(self, recipe: str) -> bool:
        """Whether the server takes anything at all just now; if so, the trouble is with the event."""
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
    """A sender that was started."""

    def __init__(self, process: subprocess.Popen[bytes], queue: EventQueue) -> None:
        self.process = process
        self._queue = queue

    def drain(self, standstill_seconds: float) -> int:
        """Wait until everything in the outbox was shipped, or nothing for so long; return the number of events left.

        A server that refuses until a person acts is asked a few times only.
        """
        end, poke, before = 0.0, 0.0, -1
        pokes = 0
        while (left := self._queue.left()) and self.process.poll() is None:
            now = time.monotonic()
            if left != before:
                before, end = left, now + standstill_seconds
            if now >= end or (pokes > TRIES and lasts(self.trouble())):
                break
            if now >= poke:
                self._poke()
                poke = now + POKE_SECONDS
                pokes += 1
            time.sleep(0.05)
        return left

    def refused(self) -> list[str]:
        """Why events were refused, one line each; none in a healthy release."""
        return [f"{entry['file']}: {entry['reason']}" for entry in self._queue.refused()]

    def trouble(self) -> str:
        """Return why the server takes nothing at the moment, '' where it does."""
        return self._queue.noted()

    def stop(self, deadline_seconds: float = 5.0) -> None:
        """Let it ship what it can and end it, by force when the time is over; either way nothing is lost."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _poke(self) -> None:
        try:
            if self.process.stdin is not None:
                os.write(self.process.stdin.fileno(), b"\n")
        except OSError:
            pass  # it is gone; `drain` sees that


def start_sender(outbox: Path, tracking_uri: str) -> Handle:
    """Start the process; its messages go to `shipper.log` in the outbox.

    Args:
        outbox: folder of the outbox.
        tracking_uri: of MLflow; goes by the environment, because a command line can be seen by everyone.
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
            start_new_session=True,  # Ctrl-C is for the flow, which then stops this
        )
    return Handle(process, EventQueue(outbox, tracking_uri))


def hide_credentials(uri: str) -> Callable[[str], str]:
    """A function that takes the user and password of `uri` out of a message."""
    secret = re.match(r"[^:/]+://([^/@]*)@", uri)
    given = [secret[1], *secret[1].split(":")[1:]] if secret else []
    parts = [part for text in given for part in (text, unquote(text)) if part]

    def hide(message: str) -> str:
        for part in parts:
            message = message.replace(part, "***")
        return message

    return hide


def main(arguments: Iterable[str] | None = None) -> None:
    """Ship one outbox to the server that MLFLOW_TRACKING_URI names."""
    parser = argparse.ArgumentParser(prog="python -m tasks.tracking.sender", description=__doc__)
    parser.add_argument("--outbox", type=Path, required=True, help="folder of the outbox")
    parser.add_argument("--rebuild", metavar="STORE", help="root of a store to tell everything of once more")
    parser.add_argument("--recipe", help="with --rebuild: the recipe whose artifacts the store holds")
    options = parser.parse_args(list(arguments) if arguments is not None else None)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        parser.error("MLFLOW_TRACKING_URI is not set; give the address of MLflow, such as sqlite:////path/mlflow.db")
    if (options.rebuild is None) != (options.recipe is None):
        parser.error("--rebuild and --recipe go together")
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
            retell(queue, options.rebuild, options.recipe)
            sender.end()
        sender.run()


if __name__ == "__main__":
    main()
