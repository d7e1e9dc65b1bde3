"""Records are written once; one whose files or inputs are missing in the store is an error that names them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from memory_client import MemoryClient
from tiny_release import make_corpus, make_mix, make_soup, run

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.record import Input, Record
from olmo_core.artifact.store import Store
from olmo_core.recipe.kinds import KINDS, kind_called
from tasks.tracking.mlflow.experiment import ARTIFACT, DIGEST, STEP, Experiment
from tasks.tracking.mlflow.records import ORIGIN, RecordWriter, _context, _history


class Client(MemoryClient):
    """Keeps the inputs of runs too."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: dict[str, dict[str, Any]] = {}

    def log_inputs(self, id_: str, datasets: Any, models: Any) -> None:
        self.inputs[id_] = {"datasets": datasets, "models": [each.model_id for each in models]}


CORPUS = Step("corpus", "wiki", 1, {"source": "wiki"}, {}, make_corpus)
MIX = Step("mix", "stage1", 1, {"seed": 1}, {"wiki": CORPUS}, make_mix)
RUN = run("stage1", MIX, 0, 2, 2)


def made(step: Step, store: Store) -> Record:
    """Make a step and what it is made from, as far as it is not made; return its record."""
    return [make(each, store).artifact.record for each in step.closure()][-1]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def told(client: Client, store: Store) -> Any:
    """Return a function that makes a step, if it is not made, and writes its record as a new sender does."""

    def tell(step: Step, release: str = "r1", reused: bool = False) -> Any:
        record = made(step, store)
        experiment = Experiment(cast(Any, client), "tiny", None)
        RecordWriter(cast(Any, client)).tell(experiment, release, record, store.root, reused)
        (own,) = [each for each in client.runs.values() if each.data.tags.get(ARTIFACT) == record.id]
        return own

    return tell


def test_written_record_is_not_written_again(told: Any, client: Client) -> None:
    told(CORPUS)
    before = len(client.history)
    client.calls.clear()
    told(CORPUS)
    assert set(client.calls) <= {"get_experiment_by_name", "search_runs"}
    assert len(client.history) == before


@pytest.mark.parametrize(
    ("first", "second", "origin"), [(True, False, "made"), (False, True, "made"), (True, True, "reused")]
)
def test_origin_is_made_once_any_release_made_it(first: bool, second: bool, origin: str, told: Any) -> None:
    told(CORPUS, "r1", reused=first)
    assert told(CORPUS, "r2", reused=second).data.tags[ORIGIN] == origin


def test_record_made_again_with_other_content_is_written_again(told: Any, store: Store, client: Client) -> None:
    told(CORPUS)
    record = store.peek(CORPUS)
    assert record is not None
    other = record.model_copy(update={"digest": "e" * 64})
    experiment = Experiment(cast(Any, client), "tiny", None)
    RecordWriter(cast(Any, client)).tell(experiment, "r1", other, store.root, False)
    assert [each.data.tags[DIGEST] for each in client.runs.values() if DIGEST in each.data.tags] == ["e" * 64]


def test_digest_is_set_last(told: Any, client: Client) -> None:
    """A sender that is killed before it writes the rest of the record again."""
    for failing in ("log_inputs", "set_terminated"):
        client.failing = lambda name, failing=failing: name == failing
        with pytest.raises(Exception, match=f"response of {failing} lost"):
            told(MIX)
        assert not [each for each in client.runs.values() if DIGEST in each.data.tags]
    client.failing = lambda _: False
    assert told(MIX).info.status == "FINISHED"


def test_history_lists_numbers_only_at_their_steps(store: Store) -> None:
    record = made(RUN, store)
    file = Path(store.root) / record.files_folder / "history.jsonl"
    rows = [{"step": 1, "loss": 2.5, "note": "resumed"}, {"step": 2, "loss": 2.0, "skipped": True}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [(each.key, each.value, each.step) for each in _history(record, store.root)]
    assert found == [("train/loss", 2.5, 1), ("train/loss", 2.0, 2), ("train/skipped", 1.0, 2)]


def test_run_without_its_history_is_named(told: Any, store: Store, client: Client) -> None:
    record = made(RUN, store)
    (Path(store.root) / record.files_folder / "history.jsonl").unlink()
    with pytest.raises(LookupError) as missing:
        _history(record, store.root)
    assert str(missing.value) == f"{store.root} holds no {record.files_folder}/history.jsonl"


def test_model_that_is_not_in_the_store_is_named(client: Client, store: Store) -> None:
    source = Input(kind="soup", name="soup", id="f" * 64, digest=None)
    experiment = Experiment(cast(Any, client), "tiny", None)
    with pytest.raises(LookupError) as missing:
        RecordWriter(cast(Any, client)).model(experiment, "r1", source, store.root)
    assert str(missing.value) == f"{store.root} holds no soup/soup with the id {'f' * 64}"


def test_model_of_a_record_that_arrives_late_is_written_from_the_store(told: Any, client: Client, store: Store) -> None:
    """A soup of soups needs the model of the first, whose own event comes later."""
    first = Step("soup", "first", 1, {"method": "uniform"}, {}, make_soup)
    second = Step("soup", "second", 1, {"method": "uniform"}, {"ingredient1": first}, make_soup)
    shown = told(second)
    models = {model.tags[ARTIFACT]: model for model in client.models.values()}
    assert models.keys() == {first.id, second.id}
    assert client.inputs[shown.info.run_id]["models"] == [models[first.id].model_id]
    assert {model.tags[STEP] for model in models.values()} == {"0"}, "neither was trained here"
    (late,) = [run for run in client.runs.values() if run.data.tags.get(ARTIFACT) == first.id]
    assert late.data.tags[ORIGIN] == "reused", "until its own event says more"
    assert told(first).data.tags[ORIGIN] == "made"


def test_record_without_a_model_of_its_own_is_not_taken_for_one(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = made(Step("soup", "soup", 1, {}, {}, make_soup), store)
    writer, experiment = RecordWriter(cast(Any, client)), Experiment(cast(Any, client), "tiny", None)
    monkeypatch.setattr(writer, "tell", lambda *_, **__: None)
    source = Input(kind="soup", name="soup", id=record.id, digest=record.digest)
    with pytest.raises(LookupError, match=r"^soup/soup has no logged model although its record was written$"):
        writer.model(experiment, "r1", source, store.root)


def test_data_sets_are_inputs_with_their_digest_and_use(told: Any, client: Client) -> None:
    shown = told(MIX)
    (dataset,) = client.inputs[shown.info.run_id]["datasets"]
    assert dataset.dataset.name == "corpus/wiki" and len(dataset.dataset.digest) == 36
    assert [tag.value for tag in dataset.tags] == ["preparation"]
    told(CORPUS)
    assert len(client.inputs) == 1, "a corpus has no data set as input"


def test_use_of_a_data_set_follows_from_the_kind_of_step() -> None:
    used = {name: _context(kind_called(name)) for name in KINDS}
    assert {name for name, use in used.items() if use == "training"} == {"run"}
    assert {name for name, use in used.items() if use == "evaluation"} == {name for name in KINDS if KINDS[name].scores}


def test_scores_of_main_are_those_of_its_model(client: Client) -> None:
    experiment = Experiment(cast(Any, client), "tiny", None)
    parent = experiment.release("r1", 1000)
    parent.tags["olmo.main_model"] = "m-1"
    scores = [SimpleNamespace(key="heldout/bits_per_byte/wiki", value=1.5, timestamp=2000, step=4)]
    for metrics in (None, scores, scores):
        found = SimpleNamespace(metrics=metrics)
        client.__dict__["get_logged_model"] = lambda _, found=found: found
        RecordWriter(cast(Any, client)).main_scores(experiment, parent)
    assert [(key, one.value, one.step) for (_, key), all_ in client.history.items() for one in all_] == [
        ("heldout/bits_per_byte/wiki", 1.5, 4)
    ]


def test_name_of_a_logged_model_has_no_characters_that_mlflow_refuses(told: Any, client: Client) -> None:
    told(Step("soup", "stage2-first.half", 1, {}, {}, make_soup))
    (model,) = client.models.values()
    assert model.name == "stage2-first_half"
