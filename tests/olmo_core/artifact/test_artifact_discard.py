"""Artifacts that are removed or committed by others: recovery checkpoints, children of a run, writes that fail."""

import errno
import os
from pathlib import Path
from typing import Any

import artifact_work
import psutil
import pytest

from olmo_core.artifact import lease as lease_module
from olmo_core.artifact.attempt import begin
from olmo_core.artifact.files import LfsPointerError, name_full_disk, refuse_pointer, sync
from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job, Placement
from olmo_core.artifact.lease import Owner, this_process
from olmo_core.artifact.make import ChildCommit, MissingInputError, make
from olmo_core.artifact.objects import LocalObjects
from olmo_core.artifact.store import Store
from olmo_core.train.placement import TrainPlacement


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "root") if request.param == "local" else f"memory://{tmp_path.name}"


def test_discarded_artifact_and_its_files_are_gone_and_it_can_be_made_again(store: Store, words: Step) -> None:
    made = make(words, store).artifact
    store.discard(words)
    assert store.find(words) is None and store.peek(words) is None
    assert not made.path.exists()
    assert store.objects.sizes(made.record.files_folder) == {}
    assert list(store.records()) == []
    assert store.problem(words) == "discarded"
    again = make(words, store)
    assert not again.reused and again.artifact.record.digest == made.record.digest
    assert again.artifact.record.attempt > made.record.attempt


def test_discarding_what_is_not_there_does_nothing(store: Store, words: Step) -> None:
    store.discard(words)
    assert store.problem(words) == ""
    make(words, store)
    store.discard(words), store.discard(words)
    assert make(words, store).artifact.record.attempt == 4, "made, discarded once, made: entries 1 to 5"


def test_artifact_of_another_id_in_the_folder_is_not_discarded(local: Store, words: Step) -> None:
    made = make(words, local).artifact
    other = Step("corpus", "wiki", 1, {"word": "other"}, {}, artifact_work.words)
    object.__setattr__(other, "id", words.id[:12] + other.id[12:])  # the same first digits
    assert other.folder == words.folder
    local.discard(other)
    assert (made.path / "words.txt").exists() and local.find(words) is not None


def test_other_artifacts_keep_their_files(store: Store, words: Step) -> None:
    other = Step("corpus", "wiki2", 1, {"word": "kept"}, {}, artifact_work.words)
    kept = make(other, store).artifact
    make(words, store)
    store.discard(words)
    assert (kept.path / "words.txt").read_text() == "kept kept kept"


def child_commit(store: Store, parent: Step) -> tuple[ChildCommit, Any]:
    attempt = begin(store, parent)
    assert attempt is not None
    return ChildCommit(store, parent, attempt.fence), attempt


def filled(folder: Path, content: bytes = b"weights") -> Path:
    folder.mkdir()
    (folder / "model.bin").write_bytes(content)
    return folder


def test_child_names_the_input_that_is_not_in_the_store(local: Store, words: Step, tmp_path: Path) -> None:
    parent = Step("run", "r", 1, {"checkpoints": 1}, {}, artifact_work.run)
    commit, attempt = child_commit(local, parent)
    with attempt:
        child = Step("checkpoint", "r-step1", 1, {}, {"run": parent, "mix": words})
        with pytest.raises(MissingInputError, match=r"checkpoint/r-step1 needs corpus/wiki .*'mix'.*corpus/wiki first"):
            commit(child, filled(tmp_path / "saving"))
    assert local.find(child) is None


def test_child_records_the_digest_of_its_inputs_but_not_of_its_parent(
    local: Store, words: Step, tmp_path: Path
) -> None:
    digest = make(words, local).artifact.record.digest
    parent = Step("run", "r", 1, {"checkpoints": 1}, {}, artifact_work.run)
    commit, attempt = child_commit(local, parent)
    with attempt:
        child = Step("checkpoint", "r-step1", 1, {}, {"run": parent, "mix": words})
        record = commit(child, filled(tmp_path / "saving")).record
    assert (record.inputs["run"].digest, record.inputs["mix"].digest) == (None, digest)
    assert not (tmp_path / "saving").exists(), "the folder is moved, not copied"
    assert record.source.modules.keys() >= {"artifact_work"}, "its source is that of the parent's work"


def test_attempt_that_ended_by_a_commit_releases_nothing(local: Store, words: Step) -> None:
    made = make(words, local).artifact
    entries = sorted(path.name for path in (Path(local.root) / words.folder / "lease").glob("0*.json"))
    assert entries == ["000001.json", "000002.json"], "own and commit, and no release after it"
    assert local.find(words) == made


def test_job_outside_of_a_step_commits_finds_and_discards_nothing(words: Step, tmp_path: Path) -> None:
    job = Job(words, {}, tmp_path)
    job.progress(1, 2, "files"), job.metrics(1, {"loss": 0.5}), job.discard(words)
    assert job.find(words) is None
    with pytest.raises(RuntimeError, match="corpus/wiki: this job cannot commit"):
        job.commit(words, tmp_path)


def test_placement_is_widened_by_defaults_and_kept_where_it_is_wide() -> None:
    wide = TrainPlacement(device="cuda", threads=7, micro_batch=3)
    assert TrainPlacement.of(wide) is wide
    assert TrainPlacement.of(Placement(device="cuda", threads=7)) == TrainPlacement(device="cuda", threads=7)
    assert Placement.of(wide) is wide


def test_failed_replacement_keeps_the_old_object_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = LocalObjects(tmp_path)
    objects.write("a/b.json", b"old")

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(OSError, match="Input/output"):
            objects.write("a/b.json", b"new")
    assert objects.read("a/b.json") == b"old"
    assert objects.names("a") == ["b.json"]


def test_full_disk_names_the_folder_unless_a_file_is_named_already() -> None:
    unnamed, named, other = (
        OSError(errno.ENOSPC, "No space left"),
        OSError(errno.ENOSPC, "No space left", "/data/file"),
        OSError(errno.EIO, "Input/output error"),
    )
    for error in (unnamed, named, other):
        name_full_disk(error, Path("/data"))
    assert (unnamed.filename, named.filename, other.filename) == ("/data", "/data/file", None)


def test_lfs_pointer_is_named_with_the_command_and_a_file_that_begins_otherwise_is_not() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    with pytest.raises(LfsPointerError, match=r"^model\.bin is a Git LFS pointer.*git lfs pull"):
        refuse_pointer("model.bin", pointer)
    refuse_pointer("model.bin", b" " + pointer)
    refuse_pointer("model.bin", b"")


def test_file_that_cannot_be_synced_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike a folder, which some file systems cannot sync."""
    path = tmp_path / "f"
    path.write_text("x")

    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    sync(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"):
        sync(path)


@pytest.mark.parametrize(
    ("error", "gone"), [(psutil.NoSuchProcess(7), True), (psutil.AccessDenied(7), False)], ids=["ended", "hidden"]
)
def test_owner_is_gone_only_where_its_process_is_known_to_have_ended(
    error: psutil.Error, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(_: int) -> None:
        raise error

    owner = this_process()
    assert not owner.gone()
    monkeypatch.setattr(lease_module.psutil, "Process", look)
    assert owner.gone() is gone


def test_process_of_another_machine_is_never_known_to_be_gone() -> None:
    here = this_process()
    elsewhere = Owner(host="node7", system="node7 another-boot pid:[1]", pid=here.pid, started=here.started - 1000)
    assert not elsewhere.gone()
    assert here.model_copy(update={"started": here.started - 1000}).gone(), "a reused pid, here"
    assert str(elsewhere) == f"process {here.pid} on node7"
