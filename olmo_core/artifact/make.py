"""Make a step's artifact, or reuse it: find, take the lease, resolve inputs, work, commit.

One step, one call. Which steps to make, in which order and on which machine is left to the flows above.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from olmo_core.artifact.attempt import Attempt, Fence, begin
from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job, Placement, Progress, silent
from olmo_core.artifact.lease import Owner
from olmo_core.artifact.record import Record, content_digest, describe_files
from olmo_core.artifact.source import source_of
from olmo_core.artifact.store import Store

Metrics = Callable[[int, Mapping[str, float]], None]
Meter = Callable[[], AbstractContextManager[dict[str, float]]]

_HERE = Placement()


class MissingInputError(LookupError):
    """An input of a step is not in the store."""


class DisagreementError(RuntimeError):
    """A step was made twice with different content; its work is not deterministic or an input was left undeclared."""


@dataclass(frozen=True)
class Made:
    """What `make` came to."""

    artifact: Artifact
    reused: bool


def make(
    step: Step,
    store: Store,
    placement: Placement = _HERE,
    progress: Progress = silent,
    metrics: Metrics | None = None,
    strict_code: bool = False,
    waiting: Callable[[Owner | None], None] | None = None,
    meter: Meter | None = None,
    before_work: Callable[[], object] | None = None,
) -> Made:
    """Return a step's artifact, reused when it is complete and intact, else made now by this process.

    Args:
        step: what to make.
        store: where it and its inputs lie.
        placement: how to run.
        progress: told how far the work is.
        metrics: told live numbers by training step.
        strict_code: make it again where the source of its work changed since.
        waiting: called with the owner when another process is making the same step.
        meter: context manager around the work; what it yields is filled with energy readings at its end.
        before_work: called once the lease is held and the inputs are verified; not where the artifact is reused.

    Raises:
        MissingInputError: an input is not in the store; names the step that makes it.
        SupersededError: somebody took over the lease, because this process was silent for too long.
    """
    while True:
        if (found := reusable(step, store, strict_code)) is not None:
            return Made(found, reused=True)
        inputs = {role: _input(step, role, source, store) for role, source in sorted(step.inputs.items())}
        if (attempt := begin(store, step, waiting)) is not None:
            with attempt:
                if before_work is not None:
                    before_work()
                return Made(_work(attempt, inputs, placement, progress, metrics, meter), reused=False)


def stale_inputs(record: Record, step: Step, peek: Callable[[Step], Record | None]) -> list[str]:
    """Return the roles whose artifact was made again since with other content; what was made from it is stale.

    Args:
        record: of the step's artifact.
        step: whose inputs are looked at.
        peek: returns the record of a complete artifact, as `Store.peek` does.
    """
    stale = []
    for role, source in step.inputs.items():
        read = record.inputs[role].digest
        now = peek(source) if read is not None else None
        if now is not None and now.digest != read:
            stale.append(role)
    return sorted(stale)


def reusable(step: Step, store: Store, strict_code: bool = False) -> Artifact | None:
    """Return a step's artifact when it is intact and made from its inputs as they are now; else set it aside."""
    found = store.find(step)
    if found is None:
        return None
    if roles := stale_inputs(found.record, step, store.peek):
        reason = f"its input {', '.join(roles)} was made again with other content"
    elif strict_code and step.work and (changed := found.record.source.changed(source_of(step.work))):
        reason = f"code changed since in {', '.join(changed)}"
    else:
        return found
    store.set_aside(found.record, reason)
    return None


def _input(step: Step, role: str, source: Step, store: Store) -> Artifact:
    found = store.find(source)
    if found is None:
        raise _missing(step, role, source, store)
    return found


def _missing(step: Step, role: str, source: Step, store: Store) -> MissingInputError:
    return MissingInputError(
        f"{step.label} needs {source.label} (id {source.id[:12]}) as its input {role!r}, which is not in "
        f"{store.root}; make the step {source.label} first"
    )


def _work(
    attempt: Attempt,
    inputs: Mapping[str, Artifact],
    placement: Placement,
    progress: Progress,
    metrics: Metrics | None,
    meter: Meter | None,
) -> Artifact:
    step, store, work = attempt.step, attempt.store, attempt.step.work
    if work is None:
        raise ValueError(f"{step.label} has no work of its own; it is committed by the step that makes it")

    def report(done: float, total: float, unit: str, **shown: float) -> None:
        if attempt.lease.lost:  # work that can no longer be committed should not go on for hours
            attempt.lease.check()
        progress(done, total, unit, **shown)

    options: dict[str, Any] = {} if metrics is None else {"metrics": metrics}
    job = Job(
        step=step,
        inputs=inputs,
        out=attempt.out,
        placement=placement,
        progress=report,
        commit=ChildCommit(store, step, attempt.fence),
        discard=store.discard,
        find=store.find,
        **options,
    )
    with (meter or _unmetered)() as energy:
        result = work(job)
    if not isinstance(result, dict):
        raise TypeError(
            f"{step.label}: {work.__module__}.{work.__qualname__} returned a {type(result).__name__}; "
            "it must return a dict of plain JSON"
        )
    return attempt.commit(result, {role: artifact.record for role, artifact in inputs.items()}, work, energy)


def _unmetered() -> AbstractContextManager[dict[str, float]]:
    return nullcontext({})


@dataclass(frozen=True)
class ChildCommit:
    """Commits a folder as the artifact of another step while its parent still runs; can be pickled."""

    store: Store
    parent: Step
    fence: Fence

    def __call__(self, step: Step, folder: Path) -> Artifact:
        """Move `folder` into the store as the artifact of `step`.

        Where the artifact exists already (the parent is run again), it is kept, and the folder must agree with it.

        Raises:
            SupersededError: the parent's lease was taken over, so nothing more may be committed in its name.
            DisagreementError: the artifact exists with other content.
            MissingInputError: an input other than the parent is not in the store.
        """
        inputs = {
            role: None if source.id == self.parent.id else self._input(step, role, source)
            for role, source in sorted(step.inputs.items())
        }
        work = step.work or self.parent.work
        assert work is not None, "the parent is at work"
        while True:
            self.fence.check(self.store)
            if (found := self.store.find(step)) is not None:
                _agree(found.record, folder)
                shutil.rmtree(folder)
                return found
            if (attempt := begin(self.store, step)) is not None:
                with attempt:
                    attempt.out.rmdir()
                    shutil.move(folder, attempt.out)
                    self.fence.check(self.store)
                    return attempt.commit({}, inputs, work)

    def _input(self, step: Step, role: str, source: Step) -> Record:
        record = self.store.peek(source)
        if record is None:
            raise _missing(step, role, source, self.store)
        return record


def _agree(record: Record, folder: Path) -> None:
    files = describe_files(folder)
    if content_digest(record.kind, files, {}) == record.digest:
        return
    was = {entry.path: entry.sha256 for entry in record.files}
    now = {entry.path: entry.sha256 for entry in files}
    differing = [name for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name)]
    raise DisagreementError(
        f"{record.label}: made again with the digest {content_digest(record.kind, files, {})}, but the store holds "
        f"{record.digest}; {', '.join(differing)} differ, and the same step must give the same bytes"
    )
