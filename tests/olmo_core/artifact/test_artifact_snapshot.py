"""A snapshot answers as its store, with one look at each kind and each record."""

from collections import Counter
from dataclasses import replace

import artifact_work
import pytest

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store

STEPS = [Step("corpus", f"c{count}", 1, {"word": "soup", "count": count}, {}, artifact_work.words) for count in (1, 2)]
RENAMED = replace(STEPS[0], name="renamed")
MISSING = Step("corpus", "c3", 1, {"word": "soup", "count": 3}, {}, artifact_work.words)


@pytest.fixture
def filled(store: Store) -> Store:
    for step in STEPS:
        make(step, store)
    return store


def test_it_answers_as_the_store(filled: Store) -> None:
    held = filled.snapshot()
    for step in (*STEPS, RENAMED, MISSING, replace(MISSING, kind="mix")):
        assert held.peek(step) == filled.peek(step), step.label
        assert held.problem(step) == filled.problem(step) == ""
    assert held.peek(RENAMED) is not None and held.peek(MISSING) is None
    assert list(held.records()) == list(held.records("corpus")) == list(filled.records())


def test_what_is_damaged_is_missing_and_says_why(filled: Store) -> None:
    record = filled.peek(STEPS[0])
    assert record is not None
    filled.objects.delete(f"{record.files_folder}/words.txt")
    held = filled.snapshot()
    assert held.peek(STEPS[0]) is None
    assert held.problem(STEPS[0]) == filled.problem(STEPS[0])
    assert "words.txt" in held.problem(STEPS[0])


def test_what_is_made_later_is_in_a_new_snapshot_alone(filled: Store) -> None:
    held = filled.snapshot()
    assert held.peek(MISSING) is None
    made = make(MISSING, filled).artifact.record
    assert held.peek(MISSING) is None and made not in list(held.records())
    assert filled.snapshot().peek(MISSING) == made


def test_each_kind_is_listed_once_and_each_record_read_once(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: Counter[str] = Counter()
    read: Counter[str] = Counter()
    names, record = filled.objects.names, filled.record
    monkeypatch.setattr(filled.objects, "names", lambda key: listed.update([key]) or names(key))
    monkeypatch.setattr(filled, "record", lambda folder: read.update([folder]) or record(folder))
    held = filled.snapshot()
    many = [Step("corpus", f"c{count}", 1, {"word": "soup", "count": count}) for count in range(3, 50)]
    for step in (*STEPS, RENAMED, *many, *STEPS):
        assert held.peek(step) is not None or held.problem(step) == ""
    assert len(list(held.records("corpus"))) == 2
    assert listed["corpus"] == 1
    assert read == {step.folder: 1 for step in STEPS}
