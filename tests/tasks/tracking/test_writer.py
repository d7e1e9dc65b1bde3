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
from tasks.tracking.rebuild import rebuild


def test_release_has_one_parent_and_one_child_per_step(view, tracked):
    parent = view.parents["r1"]
    assert parent.info.status == "FINISHED"
    assert (parent.data.params["name"], parent.data.params["stages.stage1.steps"]) == ("tiny", "4")
    assert parent.data.tags["olmo.steps_made"] == str(len(tracked.release.plan))
    assert f"soup/soup |  | `{tracked.release.soup.id[:12]}`" in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["mlflow.source.name"] == "olmo run tiny"
    assert Counter(view.artifact_ids) == Counter(step.id for step in tracked.release.plan)
    assert {run.data.tags["mlflow.parentRunId"] for run in view.children.values()} == {parent.info.run_id}


def test_revisions_are_versions_and_main_is_the_soup(view, tracked):
    versions = view.client.search_model_versions("name = 'olmo-tiny'")
    assert {version.tags["olmo.revision"] for version in versions} == {step.name for step in tracked.release.revisions}
    assert len(versions) == len(tracked.release.revisions)
    main = view.client.get_model_version_by_alias("olmo-tiny", "main")
    assert main.tags["olmo.commit"] == tracked.release.revisions[-1].id[:40]
    assert view.artifact_of_version(main) == tracked.release.soup.id
    assert view.parents["r1"].data.tags["olmo.main"] == "soup/soup"
    for step in tracked.release.revisions:
        named = view.client.get_model_version_by_alias("olmo-tiny", step.name)
        assert named.tags["olmo.revision"] == step.name
        assert f'from_pretrained("org/olmo-tiny", revision="{step.name}")' in named.description
        model = view.client.get_logged_model(named.source.removeprefix("models:/"))
        assert {"name": "olmo-tiny", "version": str(named.version)} in json.loads(model.tags["mlflow.modelVersions"])


def test_release_has_the_scores_of_its_main(view, tracked):
    metrics = view.parents["r1"].data.metrics
    assert metrics == {"heldout/bits_per_byte/wiki": 1 + len("soup") / 64, "tasks/accuracy/arc_easy": 4 / 128}


def test_repository_models_are_logged_on_the_curve_of_their_run(tracked, tmp_path):
    client, store = tracked.database("repository"), Store(tmp_path)
    model = Step("pretrained", "other-step7", 1, {"commit": "a"}, {}, make_soup)
    inputs = {"model": model, "heldout/wiki": tracked.release.corpus}
    result = Step("result", "other-step7", 1, {}, inputs, evaluate)
    with EventLog(tmp_path / "outbox", "tiny", "r2") as outbox:
        for step in (tracked.release.corpus, result.inputs["model"], result):
            outbox.step(store.root, make(step, store).artifact.record, reused=False)
        scores = store.peek(result).result
        outbox.repository("org/other", {"stage1": [(7, scores), (9, scores)]})
    queue = EventQueue(tmp_path / "outbox", "")
    writer = tracked.writer(client)
    for _ in range(2):
        for item in queue.read():
            writer.write(item.event)
    view = View(client, "tiny")
    name, value = "heldout/bits_per_byte/wiki", 1 + len("other-step7") / 64
    assert view.inputs(result.id) == {model.id}
    assert view.history(result.id, name) == [(0, value)]
    assert view.history("org/other/stage1", name) == [(7, value), (9, value)]
    parent = view.parents["r2"]
    assert (parent.info.run_name, parent.data.tags["olmo.repo"]) == ("evaluations of org/other", "org/other")
    assert {run.info.status for run in view.runs.values()} == {"FINISHED"}


def test_writing_all_events_again_changes_nothing(tracked, client):
    before = View(client, "tiny").everything()
    writer = tracked.writer(client)
    for event in tracked.events:
        writer.write(event)
    assert View(client, "tiny").everything() == before


class Flaky:
    """A client whose calls fail at random, before or after the server carried them out."""

    def __init__(self, client: MlflowClient, chance: random.Random) -> None:
        self._client, self._chance, self.failures = client, chance, Counter()

    def __getattr__(self, name):
        call = getattr(self._client, name)

        def flaky(*arguments, **options):
            fate = self._chance.random()
            if fate < 0.06:
                self.failures["before"] += 1
                raise MlflowException(f"{name} not reached")
            response = call(*arguments, **options)
            if fate > 0.94:
                self.failures["after"] += 1
                raise MlflowException(f"response of {name} lost")
            return response

        return flaky


def test_any_order_and_lost_calls_give_the_same_result(tracked, view):
    client, chance = tracked.database("flaky"), random.Random(7)
    flaky = Flaky(client, chance)
    writer = tracked.writer(flaky)
    events = tracked.events[1:-1]
    chance.shuffle(events)
    for event in [*events, tracked.events[0], tracked.events[-1]]:
        for _ in range(40):
            try:
                writer.write(event)
                break
            except MlflowException:
                writer = tracked.writer(flaky)  # like a sender that was killed and restarted
        else:
            pytest.fail(f"never accepted: {event['event']}")
    assert min(flaky.failures["before"], flaky.failures["after"]) > 5
    assert View(client, "tiny").everything() == view.everything()


def test_duplicate_runs_and_models_are_removed(tracked, client):
    before, soup = View(client, "tiny").everything(), tracked.release.soup
    [soup_made] = [event for event in tracked.events if event.get("record", {}).get("id") == soup.id]
    experiment = client.get_experiment_by_name("tiny").experiment_id

    def make_ghosts():
        client.create_run(experiment, tags={"olmo.artifact_id": soup.id}, run_name="late", start_time=1)
        client.create_logged_model(experiment, name="late", tags={"olmo.artifact_id": soup.id})
        assert View(client, "tiny").everything() != before

    writer = tracked.writer(client)
    writer.write(soup_made)
    writer.write(next(event for event in tracked.events if event.get("model", {}).get("id") == soup.id))
    make_ghosts()
    writer.remove_duplicates()
    assert View(client, "tiny").everything() == before
    make_ghosts()
    for event in tracked.events:
        if event["event"] != "release" and soup.id in str(event):
            tracked.writer(client).write(event)
    assert View(client, "tiny").everything() == before


def test_replayed_steps_count_once_and_gaps_are_filled(tracked):
    client = tracked.database("replayed")
    run = tracked.release.stage1
    event = {"event": "metrics", "recipe": "tiny", "release": "r1", "time": 1.0, "id": run.id}
    tracked.writer(client).write({**event, "points": [[s, 10.0 + s, {"loss": loss(0, s)}] for s in (1, 3)]})
    tracked.writer(client).write({**event, "points": [[s, 20.0 + s, {"loss": loss(0, s), "lr": 0.5}] for s in (1, 3)]})
    view = View(client, "tiny")
    assert view.history(run.id, "train/loss") == [(1, loss(0, 1)), (3, loss(0, 3))]
    assert view.history(run.id, "train/lr") == [(1, 0.5), (3, 0.5)]
    assert view.children[run.id].info.status == "RUNNING"
    done = next(one for one in tracked.events if one.get("record", {}).get("id") == run.id)
    tracked.writer(client).write(done)
    view = View(client, "tiny")
    assert view.history(run.id, "train/loss") == [(step, loss(0, step)) for step in range(1, 5)]
    assert (view.children[run.id].info.status, view.children[run.id].info.run_name) == ("FINISHED", "run/stage1")


def test_failed_release_can_resume(tracked):
    client = tracked.database("failed")
    writer, run = tracked.writer(client), tracked.release.stage1
    known = {"recipe": "tiny", "release": "r1", "time": 5.0}
    points = {**known, "event": "metrics", "id": run.id, "points": [[1, 1.0, {"loss": 8.0}]]}
    writer.write(tracked.events[0])
    writer.write(points)
    writer.write({**known, "event": "failed", "steps": {"made": 1, "reused": 0}, "reason": "no space on disk"})
    view = View(client, "tiny")
    assert {one.info.status for one in (view.parents["r1"], view.children[run.id])} == {"FAILED"}
    assert view.parents["r1"].data.tags["olmo.failure"] == "no space on disk"
    assert view.children[run.id].info.run_name == "run/stage1"
    writer.write(tracked.events[0])
    writer.write({**points, "points": [[2, 2.0, {"loss": 4.0}]]})
    view = View(client, "tiny")
    assert {one.info.status for one in (view.parents["r1"], view.children[run.id])} == {"RUNNING"}


def test_second_release_reuses_runs_of_the_first(tracked, client, view):
    before = view.artifact_ids
    writer = tracked.writer(client)
    for event in tracked.events:
        if event["event"] != "metrics":
            writer.write({**event, "release": "r2", **({"reused": True} if event["event"] == "step" else {})})
    after = View(client, "tiny")
    assert Counter(after.artifact_ids) == Counter(before)
    assert after.parents.keys() == {"r1", "r2"}
    assert after.children[tracked.release.soup.id].data.tags["olmo.origin"] == "made"


def test_all_but_live_values_is_rebuilt_from_the_store(tracked, view, tmp_path):
    client, queue = tracked.database("rebuilt"), EventQueue(tmp_path, "")
    assert rebuild(queue, tracked.store.root, "tiny") == len(list(tracked.store.records()))
    writer = tracked.writer(client)
    for item in queue.read():
        writer.write(item.event)
    rebuilt = View(client, "tiny")
    assert set(rebuilt.artifact_ids) == {record.id for record in tracked.store.records()} > set(view.artifact_ids)
    assert rebuilt.models.keys() > view.models.keys()
    for artifact in view.children:
        assert rebuilt.inputs(artifact) == view.inputs(artifact)
    for key in ("train/loss", "train/lr", "tasks/accuracy/arc_easy"):
        assert rebuilt.history(tracked.release.stage1.id, key) == view.history(tracked.release.stage1.id, key) != []


def test_malformed_event_is_an_error(tracked, client):
    writer = tracked.writer(client)
    known = {"recipe": "tiny", "release": "r1", "time": 5.0}
    with pytest.raises(ValueError, match="no such event: 'gossip'"):
        writer.write({**known, "event": "gossip"})
    with pytest.raises(ValueError, match="training step -1"):
        writer.write({**known, "event": "metrics", "id": "f" * 64, "points": [[-1, 1.0, {"loss": 1.0}]]})
