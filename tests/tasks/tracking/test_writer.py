import json
import random
from collections import Counter

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow_view import View
from tiny_release import evaluate, loss, make_soup

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from tasks.tracking.events import EventLog
from tasks.tracking.queue import EventQueue
from tasks.tracking.rebuild import retell


def test_one_parent_and_one_child_for_every_step(view, told):
    parent = view.parents["r1"]
    assert parent.info.status == "FINISHED"
    assert (parent.data.params["name"], parent.data.params["stages.stage1.steps"]) == ("tiny", "4")
    assert parent.data.tags["olmo.steps_made"] == str(len(told.release.plan))
    assert f"soup/soup |  | `{told.release.soup.id[:12]}`" in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["mlflow.source.name"] == "olmo run tiny"
    assert Counter(view.artifact_ids) == Counter(step.id for step in told.release.plan)
    assert {run.data.tags["mlflow.parentRunId"] for run in view.children.values()} == {parent.info.run_id}


def test_revisions_are_versions_and_main_is_the_soup(view, told):
    versions = view.client.search_model_versions("name = 'olmo-tiny'")
    assert {version.tags["olmo.revision"] for version in versions} == {step.name for step in told.release.revisions}
    assert len(versions) == len(told.release.revisions)
    main = view.client.get_model_version_by_alias("olmo-tiny", "main")
    assert main.tags["olmo.commit"] == told.release.revisions[-1].id[:40]
    assert view.artifact_of_version(main) == told.release.soup.id
    assert view.parents["r1"].data.tags["olmo.main"] == "soup/soup"
    for step in told.release.revisions:
        named = view.client.get_model_version_by_alias("olmo-tiny", step.name)
        assert named.tags["olmo.revision"] == step.name
        assert f'from_pretrained("org/olmo-tiny", revision="{step.name}")' in named.description
        model = view.client.get_logged_model(named.source.removeprefix("models:/"))
        assert {"name": "olmo-tiny", "version": str(named.version)} in json.loads(model.tags["mlflow.modelVersions"])


def test_a_release_has_the_scores_of_its_main(view, told):
    metrics = view.parents["r1"].data.metrics
    assert metrics == {"heldout/bits_per_byte/wiki": 1 + len("soup") / 64, "tasks/accuracy/arc_easy": 4 / 128}


def test_models_of_a_repository_are_evaluated_and_stand_on_the_curve_of_their_run(told, tmp_path):
    client, store = told.database("repository"), Store(tmp_path)
    model = Step("pretrained", "theirs-step7", 1, {"commit": "a"}, {}, make_soup)
    inputs = {"model": model, "heldout/wiki": told.release.corpus}
    result = Step("result", "theirs-step7", 1, {}, inputs, evaluate)
    with EventLog(tmp_path / "outbox", "tiny", "r2") as outbox:
        for step in (told.release.corpus, result.inputs["model"], result):
            outbox.step(store.root, make(step, store).artifact.record, reused=False)
        scores = store.peek(result).result
        outbox.repository("org/theirs", {"stage1": [(7, scores), (9, scores)]})
    queue = EventQueue(tmp_path / "outbox", "")
    lineage = told.lineage(client)
    for _ in range(2):
        for item in queue.read():
            lineage.tell(item.event)
    view = View(client, "tiny")
    name, value = "heldout/bits_per_byte/wiki", 1 + len("theirs-step7") / 64
    assert view.inputs(result.id) == {model.id}
    assert view.history(result.id, name) == [(0, value)]
    assert view.history("org/theirs/stage1", name) == [(7, value), (9, value)]
    parent = view.parents["r2"]
    assert (parent.info.run_name, parent.data.tags["olmo.repo"]) == ("evaluations of org/theirs", "org/theirs")
    assert {run.info.status for run in view.runs.values()} == {"FINISHED"}


def test_telling_it_all_again_changes_nothing(told, client):
    before = View(client, "tiny").everything()
    lineage = told.lineage(client)
    for event in told.events:
        lineage.tell(event)
    assert View(client, "tiny").everything() == before


class Flaky:
    """A client whose calls fail now and then, before or after they did their work."""

    def __init__(self, client: MlflowClient, chance: random.Random) -> None:
        self._client, self._chance, self.failures = client, chance, Counter()

    def __getattr__(self, name):
        call = getattr(self._client, name)

        def flaky(*arguments, **options):
            fate = self._chance.random()
            if fate < 0.06:
                self.failures["before"] += 1
                raise MlflowException(f"{name} not reached")
            answer = call(*arguments, **options)
            if fate > 0.94:
                self.failures["after"] += 1
                raise MlflowException(f"answer of {name} lost")
            return answer

        return flaky


def test_any_order_with_lost_calls_and_lost_answers_leads_to_the_same(told, view):
    client, chance = told.database("flaky"), random.Random(7)
    flaky = Flaky(client, chance)
    lineage = told.lineage(flaky)
    events = told.events[1:-1]
    chance.shuffle(events)
    for event in [*events, told.events[0], told.events[-1]]:
        for _ in range(40):
            try:
                lineage.tell(event)
                break
            except MlflowException:
                lineage = told.lineage(flaky)  # as a sender that was killed and started again
        else:
            pytest.fail(f"never taken: {event['event']}")
    assert min(flaky.failures["before"], flaky.failures["after"]) > 5
    assert View(client, "tiny").everything() == view.everything()


def test_runs_and_models_made_twice_are_removed(told, client):
    before, soup = View(client, "tiny").everything(), told.release.soup
    [soup_made] = [event for event in told.events if event.get("record", {}).get("id") == soup.id]
    experiment = client.get_experiment_by_name("tiny").experiment_id

    def make_ghosts():
        client.create_run(experiment, tags={"olmo.artifact_id": soup.id}, run_name="late", start_time=1)
        client.create_logged_model(experiment, name="late", tags={"olmo.artifact_id": soup.id})
        assert View(client, "tiny").everything() != before

    lineage = told.lineage(client)
    lineage.tell(soup_made)
    lineage.tell(next(event for event in told.events if event.get("model", {}).get("id") == soup.id))
    make_ghosts()
    lineage.settle()
    assert View(client, "tiny").everything() == before
    make_ghosts()
    for event in told.events:
        if event["event"] != "release" and soup.id in str(event):
            told.lineage(client).tell(event)
    assert View(client, "tiny").everything() == before


def test_replayed_training_steps_count_once_and_gaps_are_filled_from_the_store(told):
    client = told.database("replayed")
    run = told.release.stage1
    event = {"event": "metrics", "recipe": "tiny", "release": "r1", "time": 1.0, "id": run.id}
    told.lineage(client).tell({**event, "points": [[s, 10.0 + s, {"loss": loss(0, s)}] for s in (1, 3)]})
    told.lineage(client).tell({**event, "points": [[s, 20.0 + s, {"loss": loss(0, s), "lr": 0.5}] for s in (1, 3)]})
    view = View(client, "tiny")
    assert view.history(run.id, "train/loss") == [(1, loss(0, 1)), (3, loss(0, 3))]
    assert view.history(run.id, "train/lr") == [(1, 0.5), (3, 0.5)]
    assert view.children[run.id].info.status == "RUNNING"
    done = next(one for one in told.events if one.get("record", {}).get("id") == run.id)
    told.lineage(client).tell(done)
    view = View(client, "tiny")
    assert view.history(run.id, "train/loss") == [(step, loss(0, step)) for step in range(1, 5)]
    assert (view.children[run.id].info.status, view.children[run.id].info.run_name) == ("FINISHED", "run/stage1")


def test_a_release_that_failed_can_go_on(told):
    client = told.database("failed")
    lineage, run = told.lineage(client), told.release.stage1
    known = {"recipe": "tiny", "release": "r1", "time": 5.0}
    points = {**known, "event": "metrics", "id": run.id, "points": [[1, 1.0, {"loss": 8.0}]]}
    lineage.tell(told.events[0])
    lineage.tell(points)
    lineage.tell({**known, "event": "failed", "steps": {"made": 1, "reused": 0}, "reason": "no space on disk"})
    view = View(client, "tiny")
    assert {one.info.status for one in (view.parents["r1"], view.children[run.id])} == {"FAILED"}
    assert view.parents["r1"].data.tags["olmo.failure"] == "no space on disk"
    assert view.children[run.id].info.run_name == "run/stage1"
    lineage.tell(told.events[0])
    lineage.tell({**points, "points": [[2, 2.0, {"loss": 4.0}]]})
    view = View(client, "tiny")
    assert {one.info.status for one in (view.parents["r1"], view.children[run.id])} == {"RUNNING"}


def test_a_second_release_reuses_the_runs_of_the_first(told, client, view):
    before = view.artifact_ids
    lineage = told.lineage(client)
    for event in told.events:
        if event["event"] != "metrics":
            lineage.tell({**event, "release": "r2", **({"reused": True} if event["event"] == "step" else {})})
    after = View(client, "tiny")
    assert Counter(after.artifact_ids) == Counter(before)
    assert after.parents.keys() == {"r1", "r2"}
    assert after.children[told.release.soup.id].data.tags["olmo.origin"] == "made"


def test_everything_but_live_values_can_be_rebuilt_from_the_store(told, view, tmp_path):
    client, queue = told.database("rebuilt"), EventQueue(tmp_path, "")
    assert retell(queue, told.store.root, "tiny") == len(list(told.store.records()))
    lineage = told.lineage(client)
    for item in queue.read():
        lineage.tell(item.event)
    rebuilt = View(client, "tiny")
    assert set(rebuilt.artifact_ids) == {record.id for record in told.store.records()} > set(view.artifact_ids)
    assert rebuilt.models.keys() > view.models.keys()
    for artifact in view.children:
        assert rebuilt.inputs(artifact) == view.inputs(artifact)
    for key in ("train/loss", "train/lr", "tasks/accuracy/arc_easy"):
        assert rebuilt.history(told.release.stage1.id, key) == view.history(told.release.stage1.id, key) != []


def test_an_event_that_makes_no_sense_is_an_error(told, client):
    lineage = told.lineage(client)
    known = {"recipe": "tiny", "release": "r1", "time": 5.0}
    with pytest.raises(ValueError, match="no such event: 'gossip'"):
        lineage.tell({**known, "event": "gossip"})
    with pytest.raises(ValueError, match="training step -1"):
        lineage.tell({**known, "event": "metrics", "id": "f" * 64, "points": [[-1, 1.0, {"loss": 1.0}]]})
