"""How a process in a terminal ends after a signal, with a stand-in for the session of a release."""

import os
import signal
import sys
from pathlib import Path

import pytest
from terminal import Terminal, plain

from flows.release import _run
from olmo_core.artifact.identity import Step
from olmo_core.artifact.store import Store
from tasks.session import Session

ROOT = Path(__file__).parents[2]
CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
PROGRAM = f"""
import os, sys, time
from pathlib import Path
from flows import interruption as ending
from infra.child import start_child
from tasks.workers.failures import EndedError

class Session:
    ended = False
    def end(self):
        self.ended = True
        if sys.argv[1] == 'hangs':
            print('ending', flush=True)
            time.sleep(600)
    def kept(self): return '3 finished steps are kept; run/stage1 is saved at step 7'

ending.DEADLINE_SECONDS = float(sys.argv[2])
with ending.commanded():
    log = Path('child.log')
    start_child([sys.executable, '-c', {CHILD!r}], os.environ, log)
    while not log.exists() or 'up' not in log.read_text():
        time.sleep(0.01)
    if sys.argv[1] == 'nothing':
        print('ready', flush=True)
        time.sleep(600)
    session = Session()
    with ending.heeding(session):
        print('ready', flush=True)
        while sys.argv[1] == 'hangs' or not session.ended:
            time.sleep(0.01)
        raise EndedError
"""
RELEASE = "olmo: interrupted: 3 finished steps are kept; run/stage1 is saved at step 7; run the same command to go on"
NOTHING = "olmo: interrupted: what is finished is kept; run the same command to go on"
NEVER = "600"


@pytest.mark.parametrize(
    ("runs", "deadline", "signals", "message", "code"),
    [
        ("flow", NEVER, [signal.SIGINT], RELEASE, 130),
        ("flow", NEVER, [signal.SIGTERM], RELEASE, 143),
        ("flow", NEVER, [signal.SIGHUP], RELEASE, 129),
        ("hangs", NEVER, [signal.SIGINT, signal.SIGINT], RELEASE, 130),
        ("hangs", "0.1", [signal.SIGINT], RELEASE, 130),
        ("nothing", NEVER, [signal.SIGINT], NOTHING, 130),
    ],
    ids=["once", "SIGTERM", "hang-up", "twice", "deadline", "no-release"],
)
def test_signal_prints_one_line_and_leaves_no_child(
    runs: str, deadline: str, signals: list[signal.Signals], message: str, code: int, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    terminal = Terminal([sys.executable, "-c", PROGRAM, runs, deadline], tmp_path, environment)
    for number, before in zip(signals, ("ready", "ending"), strict=False):
        terminal.until(f"{before}\r\n")
        terminal.press() if number == signal.SIGINT else terminal.kill(number)
    assert terminal.end() == code
    assert [line for line in plain(terminal.output) if line not in ("ready", "ending")] == [message]
    assert terminal.left() == []


def test_interrupt_releases_threads_waiting_for_later_parts(tmp_path: Path) -> None:
    corpus = Step("corpus", "theirs", 1, {}, {})
    result = Step("result", "ours", 1, {}, {"corpus": corpus})

    class Plan:
        def steps_of(self, part: str) -> list[Step]:
            return {"stage1": [corpus], "evaluate": [result]}.get(part, [])

    session = Session(Plan(), None, Store(tmp_path), None)  # type: ignore[arg-type]
    waited: list[Step] = []

    def broken() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calls = {"data": broken, "stage1": broken, "evaluate": lambda: waited.extend(session.turns.of([result]))}
        _run(session, calls)
    assert waited == [result]
