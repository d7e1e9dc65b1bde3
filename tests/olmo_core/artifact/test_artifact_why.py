import json
from typing import Any

import pytest
from artifact_work import join, random_bytes, words
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olmo_core.artifact import why as why_module
from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.source import Source, environment
from olmo_core.artifact.store import Store
from olmo_core.artifact.why import ABSENT, Difference, Explainer, why

FIELDS: dict[str, Any] = {
    "filter": {"length": 10, "languages": ["en", "de"], "limits": {}},
    "seed": 42,
    "share": 0.5,
    "dedup": True,
    "note": None,
}


def corpus(fields: dict[str, Any] = FIELDS, name: str = "wiki", version: int = 1) -> Step:
    return Step("corpus", name, version, fields, {}, words)


def release(seed: int = 1, vocabulary: int = 8000, word: str = "soup") -> Step:
    """Return the last step of a small graph in which two paths lead from the corpus to the end."""
    wiki = Step("corpus", "wiki", 1, {"word": word}, {}, words)
    tokenizer = Step("tokenizer", "bpe", 1, {"vocabulary": vocabulary}, {"wiki": wiki}, join)
    mix = Step("mix", "stage2", 1, {"seed": seed}, {"wiki": wiki, "bpe": tokenizer}, join)
    return Step("run", "ingredient1", 1, {"rate": 3e-4}, {"mix": mix}, join)


def make_all(step: Step, store: Store) -> None:
    for each in step.closure():
        make(each, store)


def test_complete_artifact_is_a_hit_and_empty_store_a_miss(store: Store) -> None:
    answer = why(corpus(), store)
    assert (answer.hit, answer.reason) == (False, "no corpus was ever made in this store")
    make(corpus(), store)
    assert why(corpus(), store).hit and why(corpus(), store).reason == "complete"


def test_other_arithmetic_is_named_for_matrix_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make(corpus(), store)
    here, other = environment(), "kernels of another machine"
    monkeypatch.setattr(why_module, "environment", lambda: here.model_copy(update={"arithmetic": other}))
    assert why(corpus(), store).reason == "complete", "a corpus has the same bytes everywhere"
    monkeypatch.setattr(why_module, "ARITHMETIC", "artifact_work")
    assert why(corpus(), store).reason == (
        f"complete; computed with {here.arithmetic}, this machine would use {other}: other bits, losses within 1e-3"
    )
    assert why(corpus(), store).hit


leaves = ["filter.length", "filter.languages[0]", "filter.languages[1]", "filter.limits", "seed", "share", "dedup"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("filled"))
    make(corpus(), store)
    make(corpus({**FIELDS, "seed": 7}, name="other"), store)
    return store


@given(leaf=st.sampled_from(leaves), value=st.integers(100, 200) | st.text() | st.none())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_field_is_named_with_both_values(filled: Store, leaf: str, value: Any) -> None:
    fields = json.loads(json.dumps(FIELDS))
    holder, key = fields, leaf
    if "." in leaf:
        head, key = leaf.split(".")
        holder = fields[head]
    if "[" in key:
        name, _, index = key.partition("[")
        recorded, holder[name][int(index[:-1])] = holder[name][int(index[:-1])], value
    else:
        recorded, holder[key] = holder[key], value
    step = corpus(fields)
    answer = why(step, filled)
    assert not answer.hit
    assert answer.nearest == corpus().folder
    assert answer.differences == [Difference("corpus/wiki", f"fields.{leaf}", recorded, value)]


def test_added_and_removed_fields_and_versions_are_named(local: Store) -> None:
    make(corpus(), local)
    fields = {key: value for key, value in FIELDS.items() if key != "seed"} | {"shards": 4}
    answer = why(corpus(fields, version=2), local)
    assert {(each.path, each.recorded, each.wanted) for each in answer.differences} == {
        ("fields.seed", 42, ABSENT),
        ("fields.shards", ABSENT, 4),
        ("version", 1, 2),
    }
    assert "corpus/wiki: fields.shards was (absent), is now 4" in map(str, answer.differences)


def test_changed_input_is_traced_to_its_cause(store: Store) -> None:
    make_all(release(), store)
    assert why(release(), store).hit
    assert why(release(word="stew"), store).differences == [Difference("corpus/wiki", "fields.word", "soup", "stew")], (
        "once, although it is reached along two ways"
    )
    answer = why(release(seed=2, vocabulary=4000), store)
    assert {str(each) for each in answer.differences} == {
        "mix/stage2: fields.seed was 1, is now 2",
        "tokenizer/bpe: fields.vocabulary was 8000, is now 4000",
    }


def test_only_dependents_of_a_change_are_misses(local: Store) -> None:
    make_all(release(), local)
    explainer = Explainer(local.snapshot())
    hits = {step.label: explainer.why(step).hit for step in release(seed=2).closure()}
    assert hits == {"corpus/wiki": True, "tokenizer/bpe": True, "mix/stage2": False, "run/ingredient1": False}


def test_input_without_old_record_is_named_by_ids(local: Store) -> None:
    make_all(release(), local)
    old = release().inputs["mix"]
    local.objects.delete(old.folder)
    answer = why(release(seed=2), local)
    assert answer.differences == [Difference("run/ingredient1", "inputs.mix", old.id, release(seed=2).inputs["mix"].id)]


def test_nearest_record_of_another_name_is_the_fallback(local: Store) -> None:
    make(corpus(name="far", fields={"a": 1, "b": 2}), local)
    make(corpus(name="near"), local)
    answer = why(corpus({**FIELDS, "seed": 1}), local)
    assert answer.nearest.startswith("corpus/near-")
    assert [each.path for each in answer.differences] == ["fields.seed"]


def test_same_name_is_nearer_than_fewer_differences(local: Store) -> None:
    wanted = {**FIELDS, "seed": 1, "share": 0.9}
    make(corpus({**wanted, "share": 0.8}, name="other"), local)
    make(corpus(), local)
    assert why(corpus(wanted), local).nearest == corpus().folder


def test_damage_is_the_reason_before_and_after_set_aside(local: Store) -> None:
    path = make(corpus(), local).artifact.path / "words.txt"
    path.unlink()
    for _ in range(2):
        answer = why(corpus(), local)
        assert not answer.hit and "file words.txt is missing" in answer.reason
        assert local.find(corpus()) is None
    make(corpus(), local)
    assert why(corpus(), local).hit


def test_why_changes_nothing(local: Store) -> None:
    artifact = make(corpus(), local).artifact
    (artifact.path / "words.txt").write_text("")
    before = local.objects.sizes("")
    why(corpus(), local)
    why(corpus({"x": 1}), local)
    assert local.objects.sizes("") == before


def test_changed_content_of_an_input_is_the_reason(local: Store) -> None:
    noise = Step("corpus", "noise", 1, {}, {}, random_bytes)
    mix = Step("mix", "noisy", 1, {}, {"noise": noise}, join)
    first = make(noise, local).artifact
    make(mix, local)
    (first.path / "words.txt").unlink()
    make(noise, local)
    answer = why(mix, local)
    assert not answer.hit and "input noise was made again" in answer.reason


def test_changed_code_is_reported_and_a_miss_only_if_strict(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(corpus(), local).artifact.record
    now = Source(digest="0", modules={**made.source.modules, "artifact_work": "0", "olmo_core.new": "1"})
    monkeypatch.setattr("olmo_core.artifact.why.source_of", lambda work: now)
    answer = why(corpus(), local)
    assert answer.hit and answer.code_changed == ["artifact_work", "olmo_core.new"]
    assert answer.reason == "complete; code changed since in artifact_work, olmo_core.new"
    assert not why(corpus(), local, strict_code=True).hit
