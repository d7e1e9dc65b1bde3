"""Classify failures: those of infrastructure and preemption are retried, a user's error is not.

A user's error (bad value, missing input, nondeterministic work) fails the same way every time, so a retry only hides
it. The classes decide Prefect's retries; nothing else in the project retries a step.
"""

import errno
from collections.abc import Iterator
from enum import StrEnum
from typing import Any


class StepsFailedError(RuntimeError):
    """Some steps of a flow failed; the message names each with its reason."""


class EndedError(RuntimeError):
    """The release was asked to end."""

    def __init__(self, message: str = "the release was asked to end; what is finished is kept") -> None:
        super().__init__(message)


class FailureClass(StrEnum):
    """Why a step failed."""

    USER = "user"
    INFRASTRUCTURE = "infrastructure"
    PREEMPTION = "preemption"


def classify(error: BaseException) -> FailureClass:
    """Return the class of a failure, by the exception and all exceptions that it wraps or that caused it."""
    from olmo_core.artifact.lease import SupersededError

    found = FailureClass.USER
    for each in _chain(error):
        name = type(each).__name__
        if isinstance(each, SystemExit) or "Preempt" in name:
            return FailureClass.PREEMPTION
        if isinstance(each, SupersededError | ConnectionError | TimeoutError) or name in _LOST:
            found = FailureClass.INFRASTRUCTURE
    return found


# Ray's errors for a process, actor, node or object that was lost during the work.
_LOST = {
    "ActorDiedError",
    "ActorUnavailableError",
    "ClientError",
    "EndpointConnectionError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectLostError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "RayActorError",
    "RayChannelError",
    "WorkerCrashedError",
    "WorkerHealthCheckFailedError",
    "WorkerHealthCheckTimeoutError",
}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, its causes, and the worker failures in a Ray Train error."""
    todo: list[Any] = [error]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo += [each.__cause__, each.__context__, getattr(each, "cause", None)]
        failures = getattr(each, "worker_failures", None)
        todo += list(failures.values()) if isinstance(failures, dict) else []


def root_message(error: BaseException) -> str:
    """Return the message of the innermost failure, which is the most helpful one, on one line."""
    innermost = list(_chain(error))[-1]
    text = " ".join(str(innermost).split()) or type(innermost).__name__
    if isinstance(innermost, OSError) and innermost.errno == errno.ENOSPC:
        text += "; make room and run it again: committed artifacts are kept"
    return f"{type(innermost).__name__}: {text}"
