import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olmo_core.artifact.attempt import Attempt, begin
from olmo_core.artifact.files import UnsafePathError
from olmo_core.artifact.identity import Step, UnstableValueError
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
    [("linking", UnsafePathError), ("not_json", UnstableValueError), ("failing", ValueError)],
)
def test_a_failure_leaves_nothing_and_frees_the_lease(
    store: Store, work: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACT_TEST_WELL", str(tmp_path / "well"))
    step = Step("corpus", "bad", 1, {}, {}, f"artifact_work:{work}")
    for _ in range(2):  # the second time would wait for ever if the lease were still held
        with pytest.raises(error):
            make(step, store)
    assert store.find(step) is None and list(store.records()) == []
    assert attempt_names(store, step) == []
    assert not list((store.base / step.folder).glob("attempt-*"))
    number, last = LeaseLog(store.objects, step.folder).last()
    assert number == 4 and last is not None and last.act == "release" and last.reason.startswith(error.__name__)


def test_a_step_that_failed_can_be_made_later(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACT_TEST_WELL", str(tmp_path / "well"))
    step = Step("corpus", "bad", 1, {}, {}, "artifact_work:failing")
    with pytest.raises(ValueError, match="not well"):
        make(step, store)
    (tmp_path / "well").touch()
    assert not make(step, store).reused
    assert make(step, store).reused


def test_the_superseded_owner_is_refused_and_the_winner_stays_whole(
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
        slow.commit({}, {})
    found = Store(store.root, scratch=tmp_path / "reader").find(words)
    assert found is not None and found.record == winner.artifact.record
    assert attempt_names(store, words) == ["attempt-2"]


def test_what_killed_owners_left_is_swept_by_the_next_commit(store: Store, words: Step) -> None:
    slow = opened(store, words)
    with slow:
        slow._open = False  # as if killed: nothing is tidied up
        (slow.out / "half").write_text("half")
    store.objects.write(f"{words.folder}/attempt-1/half", b"half")
    slow.lease.end("release")
    make(words, store)
    assert attempt_names(store, words) == ["attempt-3"]
    assert not (store.base / words.folder / "attempt-1").exists()
    assert store.objects.names(f"{words.folder}/lease") == [f"{number:06d}.json" for number in range(1, 5)]


class LosesAcknowledgement:
    """Objects that apply the creation of one entry and then say that it failed; reading may fail with it."""

    def __init__(self, objects: Any, number: int, error: type[OSError], silent: bool) -> None:
        self.objects = objects
        self.key = f"lease/{number:06d}.json"
        self.error = error
        self.silent = silent
        self.down = False

    def create(self, key: str, data: bytes) -> None:
        if self.down:
            raise self.error("no answer")
        self.objects.create(key, data)
        if key.endswith(self.key):
            self.down = self.silent
            raise self.error("acknowledgement lost")

    def read(self, key: str) -> Any:
        if self.down:
            raise self.error("no answer")
        return self.objects.read(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects, name)


@pytest.mark.parametrize("error", [FileExistsError, TimeoutError])
def test_a_commit_whose_acknowledgement_was_lost_counts(local: Store, words: Step, error: type[OSError]) -> None:
    local.objects = LosesAcknowledgement(local.objects, 2, error, silent=False)  # type: ignore[assignment]
    assert not make(words, local).reused
    assert make(words, Store(local.root)).reused


def test_a_commit_that_went_through_in_an_outage_is_found_afterwards(local: Store, words: Step, journal: Path) -> None:
    local.objects = LosesAcknowledgement(local.objects, 2, TimeoutError, silent=True)  # type: ignore[assignment]
    with pytest.raises(TimeoutError):
        make(words, local)
    assert make(words, Store(local.root)).reused
    assert journal.read_text() == "words\n"


def _dying_at(number: int) -> Callable[[str], None]:
    """Patch every call that makes something durable or visible, so that this process is killed before the n-th."""
    seen = [0]

    def patch(name: str) -> None:
        real = getattr(os, name)

        def replacement(*arguments: Any, **options: Any) -> Any:
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        setattr(os, name, replacement)

    return patch


def test_killed_at_any_point_of_a_commit_there_is_nothing_or_all_of_it(tmp_path: Path, words: Step) -> None:
    """Fork a process for each durable call of `make` and kill it right before that call."""
    expected = make(words, Store(tmp_path / "expected")).artifact.record
    outcomes = []
    for number in range(1, 200):
        store = Store(tmp_path / f"root{number}", ttl=3600)
        child = os.fork()
        if child == 0:
            patch = _dying_at(number)
            for name in ("fsync", "link", "rename", "replace", "mkdir", "unlink", "open"):
                patch(name)
            make(words, store)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        found = store.find(words)
        outcomes.append(found is not None)
        if found is not None:
            assert found.record.digest == expected.digest
        made = make(words, store)
        assert made.reused == (found is not None)
        assert made.artifact.record.digest == expected.digest
        assert attempt_names(store, words) == [f"attempt-{made.artifact.record.attempt}"]
        if os.WIFEXITED(status):
            break
    assert os.waitstatus_to_exitcode(status) == 0, "the last child was to come through"
    assert outcomes == sorted(outcomes), "once complete, complete at every later point"
    assert outcomes.count(False) >= 10 and outcomes.count(True) >= 3
