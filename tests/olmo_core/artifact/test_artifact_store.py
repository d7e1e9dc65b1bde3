import hashlib
import pickle
import shutil
from pathlib import Path
from typing import Any

import artifact_work
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact
from olmo_core.artifact.make import make
from olmo_core.artifact.objects import LocalObjects
from olmo_core.artifact.record import DamagedRecordError, FileEntry, Record, content_digest
from olmo_core.artifact.store import CollisionError, Store


def fresh(store: Store, tmp_path: Path, name: str = "other") -> Store:
    """Return the store as another process sees it, with its own scratch folder."""
    return Store(store.root, scratch=tmp_path / name, warn=[].append)


def warned(store: Store, tmp_path: Path) -> tuple[Store, list[str]]:
    warnings: list[str] = []
    return Store(store.root, scratch=tmp_path / "warned", warn=warnings.append), warnings


def content(artifact: Artifact) -> dict[str, bytes]:
    return {path.relative_to(artifact.path).as_posix(): path.read_bytes() for path in artifact.path.rglob("*.*")}


def test_artifact_is_found_by_other_processes(store: Store, words: Step, tmp_path: Path, journal: Path) -> None:
    assert store.find(words) is None and store.peek(words) is None
    made = make(words, store)
    assert not made.reused
    assert make(words, store).reused
    other = fresh(store, tmp_path)
    found = make(words, other)
    assert found.reused
    assert found.artifact.record == made.artifact.record == other.peek(words)
    assert content(found.artifact) == content(made.artifact)
    assert content(found.artifact)["words.txt"] == b"soup soup soup soup soup"
    assert [entry.path for entry in found.artifact.record.files] == ["deep/length.bin", "words.txt"]
    assert journal.read_text() == "words\n"


def test_fetched_artifact_is_readable_without_its_root(s3_root: str, words: Step, tmp_path: Path) -> None:
    made = make(words, Store(s3_root, scratch=tmp_path / "one"))
    found = Store(s3_root, scratch=tmp_path / "two").find(words)
    assert found is not None and found.path != made.artifact.path
    assert content(found) == content(made.artifact)


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "missing"])
def test_damaged_file_is_named_set_aside_and_made_again(
    store: Store, words: Step, tmp_path: Path, journal: Path, damage: str
) -> None:
    first = make(words, store).artifact.record
    key = f"{first.files_folder}/words.txt"
    data = store.objects.read(key) or b""
    if damage == "missing":
        store.objects.delete(key)
    else:
        store.objects.write(key, {"flip": b"S" + data[1:], "cut": data[:-1], "grow": data + b"!"}[damage])
    other, warnings = warned(store, tmp_path)
    assert (other.peek(words) is None) == (damage != "flip")
    assert other.find(words) is None
    assert len(warnings) == 1 and "corpus/wiki: file words.txt" in warnings[0] and "set aside" in warnings[0]
    assert "file words.txt" in other.problem(words)
    assert store.objects.read(f"{first.folder}/record.json") is None
    assert Record.from_json(store.objects.read(f"{first.folder}/set-aside-1.json") or b"") == first
    assert other.find(words) is None and len(warnings) == 1
    second = make(words, other)
    assert not second.reused
    assert second.artifact.record.digest == first.digest
    assert second.artifact.record.attempt > first.attempt
    assert other.problem(words) == ""
    assert make(words, fresh(store, tmp_path, "third")).reused
    assert journal.read_text().split() == ["words"] * 2
    assert store.objects.names(first.files_folder), "an artifact that was set aside stays for inspection"


def test_damage_after_verification_is_noticed(local: Store, words: Step) -> None:
    artifact = make(words, local).artifact
    assert local.find(words) is not None
    path = artifact.path / "words.txt"
    path.write_bytes(path.read_bytes().upper())
    assert local.find(words) is None


def test_damaged_scratch_file_is_fetched_again(s3_root: str, words: Step, tmp_path: Path) -> None:
    store = Store(s3_root, scratch=tmp_path / "scratch")
    artifact = make(words, store).artifact
    whole = content(artifact)
    (artifact.path / "words.txt").write_bytes(b"x" * len(whole["words.txt"]))
    found = store.find(words)
    assert found is not None and content(found) == whole


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Step]:
    root = tmp_path_factory.mktemp("finished")
    step = Step("corpus", "wiki", 1, {"word": "bit", "count": 40}, {}, artifact_work.words)
    make(step, Store(root))
    return root, step


@given(data=st.data())
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_or_cut_is_found(finished: tuple[Path, Step], data: st.DataObject) -> None:
    root, step = finished
    store = Store(root, warn=lambda _: None)
    artifact = store.find(step)
    assert artifact is not None
    path = artifact.path / data.draw(st.sampled_from([entry.path for entry in artifact.record.files]))
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        bit = data.draw(st.integers(0, len(whole) * 8 - 1))
        path.write_bytes(whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
    else:
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    try:
        verifier = Store(root).verifier
        assert verifier.sizes(artifact.record) or verifier.digests(artifact.record)
        assert store.verifier.sizes(artifact.record) or store.verifier.digests(artifact.record)
    finally:
        path.write_bytes(whole)


@given(data=st.data())
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_record_is_refused_or_equal(finished: tuple[Path, Step], data: st.DataObject) -> None:
    root, step = finished
    whole = (root / step.folder / "record.json").read_bytes()
    record = Record.from_json(whole)
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    damaged = whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :]
    try:
        assert Record.from_json(damaged) == record  # white space between values has no meaning
        assert whole[bit // 8 : bit // 8 + 1].isspace()
    except DamagedRecordError:
        pass


@pytest.mark.parametrize("damage", [None, b"", b"{}", b"[]", b"\xff\xfe", b'{"seal": 1', b"NaN", b"null"])
def test_lost_or_damaged_record_is_restored_from_lease_log(
    store: Store, words: Step, tmp_path: Path, journal: Path, damage: bytes | None
) -> None:
    record = make(words, store).artifact.record
    key = f"{record.folder}/record.json"
    if damage is None:
        store.objects.delete(key)
    else:
        store.objects.write(key, damage)
    other, warnings = warned(store, tmp_path)
    assert other.peek(words) == record
    assert store.objects.read(key) == damage, "peek changes nothing"
    found = other.find(words)
    assert found is not None and found.record == record
    assert store.objects.read(key) == record.to_json()
    assert bool(warnings) == (damage is not None)
    assert journal.read_text() == "words\n"


def test_artifact_copied_without_lease_log_is_complete(store: Store, words: Step, tmp_path: Path) -> None:
    record = make(words, store).artifact.record
    store.objects.delete(f"{record.folder}/lease")
    assert make(words, fresh(store, tmp_path)).reused
    store.objects.write(f"{record.files_folder}/words.txt", b"damaged")
    again = make(words, fresh(store, tmp_path, "third"))
    assert not again.reused and again.artifact.record.digest == record.digest


def test_old_record_of_paused_writer_gives_way_to_new_one(local: Store, words: Step) -> None:
    old = make(words, local).artifact
    (old.path / "words.txt").write_text("damaged")
    new = make(words, local).artifact.record
    local.objects.write(f"{new.folder}/record.json", old.record.to_json())
    found = Store(local.root, warn=[].append).find(words)
    assert found is not None and found.record == new
    assert Record.from_json(local.objects.read(f"{new.folder}/record.json") or b"") == new


def test_concurrent_repair_keeps_new_artifact(local: Store, words: Step) -> None:
    old = make(words, local).artifact
    (old.path / "words.txt").write_text("damaged")
    slow, warnings = Store(local.root, warn=[].append), []
    slow.warn = warnings.append
    create = slow.objects.create
    new: list[Record] = []

    def late(key: str, data: bytes) -> None:
        slow.objects.create = create  # type: ignore[method-assign]
        new.append(make(words, Store(local.root, warn=[].append)).artifact.record)
        create(key, data)

    slow.objects.create = late  # type: ignore[method-assign]
    slow.set_aside(old.record, "file words.txt is damaged")
    assert new[0].attempt > old.record.attempt
    assert local.objects.read(f"{old.record.folder}/record.json") == new[0].to_json()
    assert warnings == []


def test_renamed_step_reuses_its_artifact(store: Store, words: Step, journal: Path) -> None:
    record = make(words, store).artifact.record
    renamed = Step("corpus", "english", 1, words.fields, {}, words.work)
    assert renamed.id == words.id and renamed.folder != words.folder
    found = make(renamed, store)
    assert found.reused and found.artifact.record == record and found.artifact.step is renamed
    assert store.peek(renamed) == record
    assert journal.read_text() == "words\n"


def test_records_lists_complete_artifacts_in_order(store: Store, words: Step) -> None:
    other = Step("package", "nltk", 1, {}, {}, artifact_work.words)
    second = Step("corpus", "ai2", 1, {"word": "x"}, {}, artifact_work.words)
    for step in (words, other, second):
        make(step, store)
    store.objects.write("corpus/notes.txt", b"a stray file")
    store.objects.write("corpus/unfinished-0123/attempt-1/x", b"x")
    assert [record.label for record in store.records()] == ["corpus/ai2", "corpus/wiki", "package/nltk"]
    assert [record.label for record in store.records("corpus")] == ["corpus/ai2", "corpus/wiki"]
    assert list(store.records("mix")) == []


@pytest.mark.parametrize(("kind", "name"), [("corpus", "../x"), ("a/b", "x"), ("corpus", ""), ("corpus", ".x")])
def test_step_name_that_is_no_file_name_is_refused(local: Store, kind: str, name: str) -> None:
    with pytest.raises(ValueError, match="may only contain letters"):
        local.find(Step(kind, name, 1))


def forge(record: Record, **changes: Any) -> bytes:
    """Return a changed record with matching seal, id and digest."""
    forged = record.model_copy(update=changes)
    return forged.model_copy(update={"digest": content_digest(forged.kind, forged.files, forged.result)}).to_json()


def test_forged_record_cannot_reach_outside_its_folder(local: Store, words: Step, tmp_path: Path) -> None:
    record = make(words, local).artifact.record
    (tmp_path / "secret").write_text("secret")
    key = f"{record.folder}/record.json"
    shutil.rmtree(tmp_path / "root" / record.folder / "lease")
    digest = hashlib.sha256(b"secret").hexdigest()
    escaping = [FileEntry(path="x", size=6, sha256=digest).model_copy(update={"path": "../../../../secret"})]
    assert (tmp_path / "root" / record.files_folder / escaping[0].path).read_text() == "secret"
    for data in (forge(record, files=escaping), forge(record, name="../../outside"), forge(record, kind="..")):
        local.objects.write(key, data)
        warnings: list[str] = []
        assert Store(local.root, warn=warnings.append).find(words) is None
        assert warnings
    assert (tmp_path / "secret").read_text() == "secret"
    assert {path.name for path in tmp_path.iterdir()} == {"root", "secret"}


def test_record_of_another_step_in_folder_is_ignored(local: Store, words: Step) -> None:
    record = make(words, local).artifact.record
    local.objects.delete(f"{record.folder}/lease")
    stranger = forge(record, payload={**record.payload, "version": 9})
    local.objects.write(f"{record.folder}/record.json", stranger)
    assert Store(local.root, warn=[].append).find(words) is None


def test_colliding_short_id_is_an_error(local: Store, words: Step) -> None:
    make(words, local)
    twin = Step(words.kind, words.name, 2, {}, {}, words.work)
    vars(twin)["id"] = words.id[:12] + "0" * 52
    assert local.peek(twin) is None
    with pytest.raises(CollisionError, match="rename one of them"):
        make(twin, local)


def test_outage_is_not_mistaken_for_damage(local: Store, words: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    make(words, local)

    def down(*_: Any) -> Any:
        raise TimeoutError("no answer")

    other = Store(local.root)
    with monkeypatch.context() as patch:
        patch.setattr(other.verifier, "digests", down)
        with pytest.raises(TimeoutError):
            other.find(words)
    with monkeypatch.context() as patch:
        patch.setattr(LocalObjects, "read", down)
        with pytest.raises(TimeoutError):
            other.find(words)
    assert make(words, Store(local.root)).reused


def test_store_pickles_as_its_arguments(store: Store, words: Step) -> None:
    make(words, store)
    copy = pickle.loads(pickle.dumps(store))
    assert (copy.root, copy.base, copy.ttl) == (store.root, store.base, store.ttl)
    assert copy.find(words) is not None
