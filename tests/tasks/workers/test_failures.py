import asyncio
import errno
import logging
from types import SimpleNamespace

import pytest

from olmo_core.artifact.lease import SupersededError
from olmo_core.artifact.make import MissingInputError
from tasks.retry import worth_retrying
from tasks.workers.failures import FailureClass, classify, root_message


class WorkerCrashedError(Exception):
    """Replaces Ray's class of the same name, which is recognised by its name."""


class WorkerGroupError(Exception):
    def __init__(self, worker_failures: dict[int, Exception]) -> None:
        super().__init__("training failed")
        self.worker_failures = worker_failures


class PreemptedError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("stages.stage1.tokens"), FailureClass.USER),
        (MissingInputError("soup/soup needs checkpoint/x"), FailureClass.USER),
        (ConnectionResetError(), FailureClass.INFRASTRUCTURE),
        (SupersededError("attempt 1 no longer holds the lease"), FailureClass.INFRASTRUCTURE),
        (WorkerCrashedError(), FailureClass.INFRASTRUCTURE),
        (WorkerGroupError({0: ValueError("diverged")}), FailureClass.USER),
        (WorkerGroupError({0: ValueError("peer closed"), 1: WorkerCrashedError()}), FailureClass.INFRASTRUCTURE),
        (WorkerGroupError({0: PreemptedError()}), FailureClass.PREEMPTION),
        (SystemExit(143), FailureClass.PREEMPTION),
    ],
)
def test_class_follows_from_exception_and_its_causes(error: BaseException, expected: FailureClass) -> None:
    assert classify(error) is expected


def test_cause_counts_and_cyclic_causes_terminate() -> None:
    outer, inner = RuntimeError("task failed"), ConnectionError("refused")
    outer.__cause__ = inner
    inner.__context__ = outer
    assert classify(outer) is FailureClass.INFRASTRUCTURE


def test_root_message_is_the_innermost_one() -> None:
    outer = WorkerGroupError({0: ValueError("stages.stage1.schedule.peak is\ntoo high")})
    assert root_message(outer) == "ValueError: stages.stage1.schedule.peak is too high"


def test_full_disk_is_reported_with_the_remedy() -> None:
    outer = WorkerGroupError({0: OSError(errno.ENOSPC, "No space left on device")})
    assert root_message(outer) == (
        "OSError: [Errno 28] No space left on device; make room and run it again: committed artifacts are kept"
    )
    assert classify(outer) is FailureClass.USER, "trying again at once finds the same disk"


@pytest.mark.parametrize(
    ("error", "tried", "messages"),
    [
        (ConnectionError("no route"), 1, ["ConnectionError: no route; tried again in 2 s"]),
        (ConnectionError("no route"), 5, ["ConnectionError: no route; tried again in 600 s"]),
        (ValueError("too high"), 1, []),
    ],
)
def test_retry_is_logged_with_its_wait(
    error: Exception,
    tried: int,
    messages: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise error

    monkeypatch.setattr("prefect.logging.loggers.task_run_logger", lambda *_: logging.getLogger("a-task-run"))
    state = SimpleNamespace(aresult=fail)
    assert asyncio.run(worth_retrying(None, SimpleNamespace(run_count=tried), state)) is bool(messages)
    assert [record.getMessage() for record in caplog.records if record.name == "a-task-run"] == messages
