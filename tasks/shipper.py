"""The process that ships the outbox to MLflow, so that neither flow nor training ever waits for a tracking server.

It ends soon after its standard input closes, and that happens when whoever started it is gone, however it went. What
was not shipped by then stays in the outbox for the next one. What events mean is left to `lineage`.
"""

import argparse
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.inbox import Inbox, Letter

if TYPE_CHECKING:
    from tasks.lineage import Lineage

log = logging.getLogger("shipper")

POLL_SECONDS = 3.0  # How long a live metric may wait; longer means fewer and larger calls.
LONGEST_WAIT = 30.0  # Between tries while the server is away.
GRACE_SECONDS = 20.0  # For what is left when the input closes.
TRIES = 3  # Of one event by a server that takes others.
NICE = 10


class Shipper:
    """Sends events in order, each until it was taken or refused."""

    def __init__(self, inbox: Inbox, connect: "Callable[[], Lineage]", hide: Callable[[str], str]) -> None:
        """Connect to nothing yet.

        Args:
            inbox: what to send.
            connect: opens the tracking server; called again after it failed.
            hide: takes secrets out of a message.
        """
        self._inbox = inbox
        self._connect = connect
        self._hide = hide
        self._lineage: Lineage | None = None
        self._doubt = False
        self._wake = threading.Event()
        self._ending = threading.Event()

    def run(self) -> None:
        """Ship until the input has closed and nothing is left."""
        while not self._ending.is_set() or self._inbox.left():
            letters = self._inbox.read()
            for letter in letters:
                self._ship(letter)
            if not letters and not self._ending.is_set():
                self._wake.wait(POLL_SECONDS)
                self._wake.clear()

    def watch(self, input_: int) -> None:
        """Wake at every byte of a file descriptor; end when it closes, at the latest after `GRACE_SECONDS`."""
        while os.read(input_, 1024):
            self._wake.set()
        self._ending.set()
        self._wake.set()
        time.sleep(GRACE_SECONDS)
        log.warning("%d events are left for the next time", self._inbox.left())
        os._exit(1)  # a call that hangs must not keep the process

    def _ship(self, letter: Letter) -> None:
        if letter.event is None:
            self._inbox.refuse(letter, "no JSON object")
            return
        tries, wait = 0, 1.0
        while True:
            try:
                self._tell(letter.event)
            except Exception as error:
                reason = self._hide(f"{type(error).__name__}: {error}")
                log.warning("%s of %s: %s", letter.event.get("event"), letter.file, reason)
                self._doubt = True
                tries += self._is_there(letter.event)
                if tries >= TRIES:
                    self._inbox.refuse(letter, reason)
                    return
                self._wake.wait(wait)
                self._wake.clear()
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                self._inbox.done(letter)
                return

    def _tell(self, event: Mapping[str, Any]) -> None:
        if self._lineage is None:
            self._lineage = self._connect()
        self._lineage.tell(event)
        if self._doubt:
            self._lineage.settle()
            self._doubt = False

    def _is_there(self, event: Mapping[str, Any]) -> bool:
        """Whether the server takes anything at all just now; if so, the trouble is with the event."""
        try:
            self._lineage = self._connect()
            self._lineage.probe(str(event.get("recipe")))
        except Exception:
            self._lineage = None
            return False
        return True


class Handle:
    """A shipper that was started."""

    def __init__(self, process: subprocess.Popen[bytes], inbox: Inbox) -> None:
        self.process = process
        self._inbox = inbox

    def drain(self, deadline_seconds: float) -> int:
        """Wait until everything in the outbox was shipped or the time is over; return the number of events left."""
        end = time.monotonic() + deadline_seconds
        self._poke()
        while (left := self._inbox.left()) and time.monotonic() < end and self.process.poll() is None:
            time.sleep(0.05)
        return left

    def refused(self) -> list[str]:
        """Why events were refused, one line each; none in a healthy release."""
        return [f"{entry['file']}: {entry['reason']}" for entry in self._inbox.refused()]

    def stop(self, deadline_seconds: float = GRACE_SECONDS) -> None:
        """Let it ship what it can and end it."""
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


def start_shipper(outbox: Path, tracking_uri: str) -> Handle:
    """Start the process; its messages go to `shipper.log` in the outbox.

    Args:
        outbox: folder of the outbox.
        tracking_uri: of MLflow; goes by the environment, because a command line can be seen by everyone.
    """
    outbox.mkdir(parents=True, exist_ok=True)
    with (outbox / "shipper.log").open("ab") as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.shipper", "--outbox", str(outbox.absolute())],
            stdin=subprocess.PIPE,
            stdout=messages,
            stderr=messages,
            env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri},
            cwd=Path(__file__).resolve().parents[1],
            start_new_session=True,  # Ctrl-C is for the flow, which then stops this
        )
    return Handle(process, Inbox(outbox, tracking_uri))


def hide_credentials(uri: str) -> Callable[[str], str]:
    """A function that takes the user and password of `uri` out of a message."""
    secret = re.match(r"[^:/]+://([^/@]*)@", uri)
    parts = [part for part in ([secret[1], *secret[1].split(":")[1:]] if secret else []) if part]

    def hide(message: str) -> str:
        for part in parts:
            message = message.replace(part, "***")
        return message

    return hide


def main(arguments: Iterable[str] | None = None) -> None:
    """Ship one outbox to the server that MLFLOW_TRACKING_URI names."""
    parser = argparse.ArgumentParser(prog="python -m tasks.shipper", description=__doc__)
    parser.add_argument("--outbox", type=Path, required=True, help="folder of the outbox")
    options = parser.parse_args(list(arguments) if arguments is not None else None)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        parser.error("MLFLOW_TRACKING_URI is not set; give the address of MLflow, such as sqlite:////path/mlflow.db")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    os.nice(NICE)
    inbox = Inbox(options.outbox, uri)

    def connect() -> "Lineage":
        from tasks.experiment import connect
        from tasks.lineage import Lineage

        artifacts = None if uri.startswith("http") else (options.outbox.parent / "mlflow-artifacts").absolute().as_uri()
        return Lineage(connect(uri), artifacts)

    shipper = Shipper(inbox, connect, hide_credentials(uri))
    threading.Thread(target=shipper.watch, args=[sys.stdin.fileno()], daemon=True).start()
    with inbox.only_reader():
        shipper.run()


if __name__ == "__main__":
    main()
