import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from artifact_work import failing, linking, not_json

from olmo_core.artifact.attempt import Attempt, begin
from olmo_core.artifact.files import UnsafePathError
from olmo_core.artifact.identity import Step, UnstableValueError
from olmo_core.artifact.job import Work
from olmo_core.artifact.lease import LeaseLog, SupersededError
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store


def attempt_names(store: Store, step: Step) -> list[str]:
    return [name for name in store.objects.names(step.folder) if name.startswith("attempt-")]


def opened(store: Store, step: Step) -> Attempt:
    attempt = begin(store, step)
    assert attempt is not None
    return attempt


@pytest.mark.parametrize(
    ("work", "error"),
    [(linking, UnsafePathError), (not_json, UnstableValueError), (failing, ValueError)],
)
def test_failed_attempt_leaves_nothing_and_frees_lease(
    store: Store, work: Work, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACT_TEST_WELL", str(tmp_path / "well"))
    step = Step("corpus", "bad", 1, {}, {}, work)
    for _ in range(2):  # the second time would wait for ever if the lease were still held
        with pytest.raises(error):
            make(step, store)
    assert store.find(step) is None and list(store.records()) == []
    assert attempt_names(store, step) == []
    assert not list((store.base / step.folder).glob("attempt-*"))
    number, last = LeaseLog(store.objects, step.folder).last()
    assert number == 4 and last is not None and last.act == "release" and last.reason.startswith(error.__name__)


def test_failed_step_can_be_made_later(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACT_TEST_WELL", str(tmp_path / "well"))
    step = Step("corpus", "bad", 1, {}, {}, failing)
    with pytest.raises(ValueError, match="not well"):
        make(step, store)
    (tmp_path / "well").touch()
    assert not make(step, store).reused
    assert make(step, store).reused


def test_superseded_owner_cannot_commit_over_winner(
    store: Store, words: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SupersededError, match="taken over"), opened(store, words) as slow:
        (slow.out / "words.txt").write_text("the old owner's bytes")
        with monkeypatch.context() as patch:
            patch.setattr("olmo_core.artifact.lease.Owner.gone", lambda self: True)
            winner = make(words, Store(store.root, scratch=tmp_path / "winner"))
        assert not winner.reused and winner.artifact.record.attempt == 2
        slow.out.mkdir(parents=True, exist_ok=True)
        (slow.out / "words.txt").write_text("written on after it was superseded")
        slow.commit({}, {}, words.work)
    assert store.objects.read(f"{words.folder}/record.json") == winner.artifact.record.to_json()
    found = Store(store.root, scratch=tmp_path / "reader").find(words)
    assert found is not None and found.record == winner.artifact.record
    assert attempt_names(store, words) == ["attempt-2"]


def test_commit_sweeps_files_of_killed_owners(store: Store, words: Step) -> None:
    slow = opened(store, words)
    with slow:
        slow._open = False  # as if killed: no cleanup
        (slow.out / "half").write_text("half")
    store.objects.write(f"{words.folder}/attempt-1/half", b"half")
    slow.lease.end("release")
    make(words, store)
    assert attempt_names(store, words) == ["attempt-3"]
    assert not (store.base / words.folder / "attempt-1").exists()
    assert store.objects.names(f"{words.folder}/lease") == [f"{number:06d}.json" for number in range(1, 5)]


class LosesAcknowledgement:
    """Objects that create one entry but report a failure, and then fail the next `outage` calls."""

    def __init__(self, objects: Any, number: int, error: type[OSError], outage: int) -> None:
        self.objects = objects
        self.key = f"lease/{number:06d}.json"
        self.error = error
        self.outage = outage
        self.left = 0

    def create(self, key: str, data: bytes) -> None:
        self._fail_in_outage()
        self.objects.create(key, data)
        if key.endswith(self.key):
            self.left = self.outage
            raise self.error("acknowledgement lost")

    def read(self, key: str) -> Any:
        self._fail_in_outage()
        return self.objects.read(key)

    def _fail_in_outage(self) -> None:
        if self.left:
            self.left -= 1
            raise self.error("no answer")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects, name)


@pytest.mark.parametrize(("error", "outage"), [(FileExistsError, 0), (TimeoutError, 0), (TimeoutError, 3)])
def test_commit_counts_when_acknowledgement_is_lost(
    local: Store, words: Step, error: type[OSError], outage: int
) -> None:
    local.objects = LosesAcknowledgement(local.objects, 2, error, outage)  # type: ignore[assignment]
    assert not make(words, local).reused
    assert make(words, Store(local.root)).reused


@pytest.mark.parametrize("outage", [5, 1000], ids=["until the release", "for ever"])
def test_commit_applied_during_outage_is_found_later(local: Store, words: Step, journal: Path, outage: int) -> None:
    local.objects = LosesAcknowledgement(local.objects, 2, TimeoutError, outage)  # type: ignore[assignment]
    with pytest.raises(TimeoutError):
        make(words, local)
    assert make(words, Store(local.root)).reused
    assert journal.read_text() == "words\n"


def test_files_are_durable_before_commit_and_commit_before_record(
    local: Store, words: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, link = os.fsync, os.link

    def noting_fsync(handle: int) -> None:
        fsync(handle)
        done.append(str(Path(f"/proc/self/fd/{handle}").readlink()))

    def noting_link(source: Path, target: Path) -> None:
        link(source, target)
        done.append(f"linked {target.name}")

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "link", noting_link)
    artifact = make(words, local).artifact
    commit = done.index("linked 000002.json")
    for path in (
        artifact.path / "words.txt",
        artifact.path / "deep" / "length.bin",
        artifact.path / "deep",
        artifact.path,
    ):
        assert str(path) in done[:commit]
    lease = str(artifact.path.parent / "lease")
    record = next(number for number, what in enumerate(done) if "/.record.json." in what)
    assert commit < done.index(lease, commit) < record < done.index(str(artifact.path.parent), record)


# Forks a child for n = 1, 2, ... and kills it right before its n-th call that makes something durable or visible,
# until one survives. Runs in a process of its own, because forking a process with threads is not safe.
KILLER = """
import os, signal, sys
from artifact_work import words
from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store

def dying_at(number, name):
    real = getattr(os, name)
    def replacement(*arguments, **options):
        seen.append(name)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    setattr(os, name, replacement)

step = Step("corpus", "wiki", 1, {"word": "soup", "count": 5}, {}, words)
make(step, Store(sys.argv[1] + "expected"))
for number in range(1, 300):
    if (child := os.fork()) == 0:
        seen = []
        for name in ("fsync", "link", "rename", "replace", "mkdir", "unlink", "open"):
            dying_at(number, name)
        make(step, Store(sys.argv[1] + str(number)))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        sys.exit(status)
"""


def test_kill_at_any_point_leaves_nothing_or_whole_artifact(tmp_path: Path, words: Step) -> None:
    subprocess.run([sys.executable, "-c", KILLER, str(tmp_path / "root")], check=True, timeout=120)
    expected = Store(tmp_path / "rootexpected").peek(words)
    assert expected is not None
    outcomes = []
    for number in range(1, len(list(tmp_path.glob("root*")))):
        store = Store(tmp_path / f"root{number}", ttl=3600)
        found = store.find(words)
        outcomes.append(found is not None)
        if found is not None:
            assert found.record.digest == expected.digest
        made = make(words, store)
        assert made.reused == (found is not None)
        assert made.artifact.record.digest == expected.digest
        assert attempt_names(store, words) == [f"attempt-{made.artifact.record.attempt}"]
    assert outcomes == sorted(outcomes), "once complete, complete at every later point"
    assert outcomes.count(False) >= 10 and outcomes.count(True) >= 3
