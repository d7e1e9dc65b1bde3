import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from artifact_work import checkpoint, join, random_bytes, run

from olmo_core.artifact.attempt import Fence, begin
from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job, Placement
from olmo_core.artifact.lease import LeaseLog, Owner, SupersededError
from olmo_core.artifact.make import ChildCommit, DisagreementError, MissingInputError, make
from olmo_core.artifact.store import Store


def joined(words: Step) -> Step:
    other = Step("corpus", "ai2", 1, {"word": "task"}, {}, words.work)
    return Step("mix", "all", 1, {}, {"wiki": words, "ai2": other}, join)


def test_inputs_are_handed_over_verified_and_recorded(store: Store, words: Step) -> None:
    mix = joined(words)
    made = {step.label: make(step, store).artifact for step in mix.closure()}
    assert (made["mix/all"].path / "words.txt").read_text() == "task task task\nsoup soup soup soup soup"
    inputs = made["mix/all"].record.inputs
    assert {role: (each.kind, each.name, each.id, each.digest) for role, each in inputs.items()} == {
        role: (step.kind, step.name, step.id, made[step.label].record.digest) for role, step in mix.inputs.items()
    }


def test_a_missing_input_is_named_with_the_step_that_makes_it(store: Store, words: Step) -> None:
    with pytest.raises(MissingInputError, match=r"mix/all needs corpus/ai2 .* as its input 'ai2'.* make the step"):
        make(joined(words), store)
    assert LeaseLog(store.objects, joined(words).folder).last() == (0, None)


def test_before_work_is_called_under_the_lease_and_only_where_there_is_work(store: Store, words: Step) -> None:
    seen: list[str] = []

    def before_work() -> None:
        (attempt,) = Path(store.base, words.folder).glob("attempt-*")
        seen.append(str(list(attempt.iterdir())))
        assert LeaseLog(store.objects, words.folder).last()[1] is not None
        assert store.peek(words) is None

    with pytest.raises(MissingInputError):
        make(joined(words), store, before_work=before_work)
    assert not make(words, store, before_work=before_work).reused
    assert make(words, store, before_work=before_work).reused
    assert seen == ["[]"]


def test_a_damaged_input_is_a_missing_input(local: Store, words: Step) -> None:
    mix = joined(words)
    for step in mix.inputs.values():
        make(step, local)
    artifact = local.find(words)
    assert artifact is not None
    (artifact.path / "words.txt").write_text("soup soup soup soup sOup")
    with pytest.raises(MissingInputError, match="corpus/wiki"):
        make(mix, local)


def test_the_digest_is_of_the_content_and_of_nothing_else(tmp_path: Path, words: Step) -> None:
    one = make(words, Store(tmp_path / "one")).artifact.record
    two = make(Step(words.kind, "renamed", 1, words.fields, {}, words.work), Store(tmp_path / "two")).artifact.record
    assert one.digest == two.digest and one.started != two.started
    other = Step(words.kind, words.name, 1, {**words.fields, "count": 6}, {}, words.work)
    assert make(other, Store(tmp_path / "one")).artifact.record.digest != one.digest


def test_work_sees_placement_progress_metrics_and_energy(local: Store, words: Step) -> None:
    seen: dict[str, Any] = {}

    def work(job: Job) -> dict[str, Any]:
        seen["placement"] = job.placement
        assert list(job.out.iterdir()) == [] and job.step is step
        job.progress(1, 2, "documents", rate=3.0)
        job.metrics(7, {"loss": 2.5})
        return {"half": 0.5}

    @contextmanager
    def meter() -> Iterator[dict[str, float]]:
        reading: dict[str, float] = {}
        yield reading
        reading["kwh"] = 0.25

    step = replace(words, work=work)
    reports: list[Any] = []
    made = make(
        step,
        local,
        Placement(threads=7),
        progress=lambda done, total, unit, **shown: reports.append((done, total, unit, shown)),
        metrics=lambda step, values: reports.append((step, values)),
        meter=meter,
    )
    assert seen["placement"].threads == 7
    assert reports == [(1, 2, "documents", {"rate": 3.0}), (7, {"loss": 2.5})]
    record = made.artifact.record
    assert record.result == {"half": 0.5} and record.energy == {"kwh": 0.25} and record.files == []


def test_a_step_without_work_is_refused(local: Store) -> None:
    with pytest.raises(
        ValueError, match=r"^corpus/x has no work of its own; it is committed by the step that makes it"
    ):
        make(Step("corpus", "x", 1), local)


def returning_nothing(job: Job) -> None:
    pass


def test_work_that_returns_no_dict_is_refused_by_step_and_function(local: Store, words: Step) -> None:
    step = replace(words, work=returning_nothing)
    with pytest.raises(TypeError, match=rf"^corpus/wiki: {__name__}\.returning_nothing returned a NoneType; "):
        make(step, local)


def test_what_was_made_from_an_input_of_other_content_is_made_again(
    local: Store, words: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = Step("corpus", "noise", 1, {}, {}, random_bytes)
    mix = Step("mix", "noisy", 1, {}, {"noise": noise}, join)
    first = make(noise, local).artifact
    before = make(mix, local).artifact.record
    (first.path / "words.txt").write_text("damaged")
    assert make(mix, local).reused, "an input that is merely lost does no harm"
    again = make(noise, local).artifact.record
    assert again.digest != first.record.digest
    after = make(mix, local)
    assert not after.reused and after.artifact.record.digest != before.digest
    assert after.artifact.record.inputs["noise"].digest == again.digest
    assert make(mix, local).reused


def test_changed_code_is_reused_by_default_and_made_again_when_asked(
    local: Store, words: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(words, local)
    assert make(words, local, strict_code=True).reused
    from olmo_core.artifact.source import Source

    monkeypatch.setattr("olmo_core.artifact.make.source_of", lambda work: Source(digest="0", modules={"m": "0"}))
    monkeypatch.setattr("olmo_core.artifact.attempt.source_of", lambda work: Source(digest="0", modules={"m": "0"}))
    assert make(words, local).reused
    assert not make(words, local, strict_code=True).reused
    assert make(words, local, strict_code=True).reused


def run_step(words: Step, count: int = 3) -> Step:
    return Step("run", "stage1", 1, {"checkpoints": count}, {"mix": words}, run)


def test_checkpoints_are_artifacts_while_the_run_goes_on(store: Store, words: Step, journal: Path) -> None:
    make(words, store)
    run = run_step(words)
    seen: list[bool] = []

    def watch(done: float, total: float, unit: str, **shown: float) -> None:
        seen.append(store.find(checkpoint(run, 0)) is not None)

    record = make(run, store, progress=watch).artifact.record
    assert [entry.path for entry in record.files] == ["history.jsonl"]
    for number in range(3):
        found = store.find(checkpoint(run, number))
        assert found is not None
        assert (found.path / "model.bin").read_bytes() == bytes([number]) * 1000
        assert found.record.inputs["run"].digest is None and found.record.inputs["run"].id == run.id
        assert "artifact_work" in found.record.source.modules
    assert make(checkpoint(run, 1), store).reused


def test_a_child_that_exists_is_kept_and_must_agree(store: Store, words: Step, tmp_path: Path) -> None:
    make(words, store)
    run = run_step(words)
    attempt = begin(store, run)
    assert attempt is not None
    with attempt:
        commit = pickle.loads(pickle.dumps(ChildCommit(store, run, attempt.fence)))
        folders = []
        for number, content in enumerate([b"same", b"same", b"other"]):
            folders.append(tmp_path / f"saving{number}")
            folders[-1].mkdir()
            (folders[-1] / "model.bin").write_bytes(content)
        first = commit(checkpoint(run, 0), folders[0])
        assert not folders[0].exists()
        second = commit(checkpoint(run, 0), folders[1])
        assert second.record == first.record and not folders[1].exists()
        with pytest.raises(DisagreementError, match=rf"{first.record.digest}; model.bin differ"):
            commit(checkpoint(run, 0), folders[2])
    assert store.find(checkpoint(run, 0)) is not None


def test_a_superseded_run_commits_no_more_checkpoints(
    store: Store, words: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(words, store)
    run = run_step(words)
    slow = begin(store, run)
    assert slow is not None
    with monkeypatch.context() as patch:
        patch.setattr(Owner, "gone", lambda self: True)
        make(run, Store(store.root, scratch=tmp_path / "winner"))
    folder = tmp_path / "saving"
    folder.mkdir()
    with pytest.raises(SupersededError):
        ChildCommit(store, run, slow.fence)(checkpoint(run, 99), folder)
    with pytest.raises(SupersededError):
        Fence(run.folder, slow.lease.number).check(store)
    assert store.peek(checkpoint(run, 99)) is None
    assert LeaseLog(store.objects, checkpoint(run, 99).folder).last() == (0, None)


def test_superseded_work_stops_at_its_next_report(local: Store, words: Step) -> None:
    local.ttl = 0.06

    def work(job: Job) -> dict[str, Any]:
        log = LeaseLog(local.objects, words.folder)
        _, mine = log.last()
        assert mine is not None
        assert log.append(2, mine.model_copy(update={"nonce": "thief"}))
        for number in range(10**9):
            job.progress(number, 10**9, "steps")
        return {}

    with pytest.raises(SupersededError):
        make(replace(words, work=work), local)


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    tmp_path: Path, words: Step, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "root", ttl=3600)
    make(words, store)
    run = run_step(words, 4)
    script = (
        "import pickle, sys; from olmo_core.artifact.make import make; from olmo_core.artifact.store import Store;"
        "make(pickle.loads(bytes.fromhex(sys.argv[2])), Store(sys.argv[1]))"
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, store.root, pickle.dumps(run).hex()],
        env={**os.environ, "ARTIFACT_TEST_DIE_AT": "1"},
        timeout=60,
    )
    assert killed.returncode == -9
    assert store.find(run) is None and store.find(checkpoint(run, 1)) is not None
    resumed = make(run, store)
    assert not resumed.reused
    assert journal.read_text().split() == ["words", *(f"checkpoint{number}" for number in range(4))]
    whole = make(words, Store(tmp_path / "uninterrupted")) and make(run, Store(tmp_path / "uninterrupted"))
    assert whole.artifact.record.digest == resumed.artifact.record.digest
