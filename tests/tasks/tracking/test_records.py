from datetime import datetime

import pytest
from mlflow_view import View
from tiny_release import checkpoint, loss

from tasks.tracking.mlflow.dataset_source import ArtifactSource


def test_child_run_holds_the_fields_of_its_record(view, tracked):
    step = tracked.release.stage2[0]
    run, record = view.children[step.id], tracked.records[step.id]
    tags = run.data.tags
    assert run.info.run_name == "run/stage2-ingredient1"
    assert (tags["olmo.kind"], tags["olmo.name"], tags["olmo.version"]) == ("run", "stage2-ingredient1", "1")
    assert (tags["olmo.digest"], tags["olmo.origin"]) == (record.digest, "made")
    for role, source in step.inputs.items():
        assert f"| {role} | {source.label} | `{source.id[:12]}` |" in tags["mlflow.note.content"]
    assert tags["mlflow.source.git.commit"] == record.code.commit
    assert run.data.params == {
        "checkpoint_every": "2",
        "model.d_model": "8",
        "model.heads": "[1, 2]",
        "seed": "1",
        "steps": "4",
    }
    assert run.data.metrics["seconds"] == record.seconds
    corpus = view.children[tracked.release.corpus.id]
    assert corpus.data.metrics["result/by_source/wiki"] == 7
    assert corpus.data.metrics["result/documents"] == 12
    assert corpus.info.end_time - corpus.info.start_time >= 0


def test_training_metrics_are_complete_and_unique(view, tracked):
    for run in (tracked.release.stage1, *tracked.release.stage2):
        seed = run.fields["seed"]
        assert view.history(run.id, "train/loss") == [(step, loss(seed, step)) for step in range(1, 5)]
        assert view.history(run.id, "train/tokens_per_second") == [(step, 100.0 + step) for step in range(1, 5)]


def test_lineage_leads_from_soup_to_stage_1_and_its_mix(view, tracked, client):
    release = tracked.release
    assert view.inputs(release.soup.id) == {checkpoint(run, 4).id for run in release.stage2}
    seen, todo = set(), [release.soup.id]
    while todo:
        artifact = todo.pop()
        run = client.get_run(view.made_by(artifact))
        seen |= {dataset.dataset.name for dataset in run.inputs.dataset_inputs} | {run.info.run_name}
        todo += [view.artifact_of_model(model.model_id) for model in run.inputs.model_inputs]
    stages = {"run/stage1", "run/stage2-ingredient1", "run/stage2-ingredient2"}
    assert seen == {"soup/soup", *stages, "mix/stage1", "mix/stage2"}


def test_checkpoints_are_outputs_of_their_run(view, tracked):
    stage1 = tracked.release.stage1
    outputs = view.client.get_run(view.children[stage1.id].info.run_id).outputs.model_outputs
    found = {(view.artifact_of_model(output.model_id), output.step) for output in outputs}
    assert found == {(checkpoint(stage1, step).id, step) for step in (2, 4)}
    assert {model.status.value for model in view.models.values()} == {"READY"}
    assert view.models.keys() == {model.id for model in tracked.release.models}


def test_dataset_can_be_loaded_from_its_mlflow_source(view, tracked):
    run = view.client.get_run(view.children[tracked.release.stage1.id].info.run_id)
    [entry] = run.inputs.dataset_inputs
    mix = tracked.release.stage1.inputs["mix"]
    digest = tracked.records[mix.id].digest
    assert entry.dataset.digest == digest[:36]
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "training")]
    source = ArtifactSource.from_json(entry.dataset.source)
    assert (source.id, source.digest) == (mix.id, digest)
    assert (source.load() / "mix.json").read_text() == "1"
    with pytest.raises(LookupError, match="does not hold mix/stage1"):
        ArtifactSource(source.root, "mix", "stage1", mix.id, "0" * 64).load()


def test_evaluations_are_logged_at_training_step_and_on_model(view, tracked):
    release = tracked.release
    name, expected = "heldout/bits_per_byte/wiki", []
    for step in (2, 4):
        expected.append((step, 1 + len(checkpoint(release.stage1, step).name) / 64))
    assert view.history(release.stage1.id, name) == expected
    assert view.history(release.soup.id, name) == [(4, 1 + len("soup") / 64)]
    assert view.history(release.soup.id, "tasks/accuracy/arc_easy") == [(4, 4 / 128)]
    heldout, task = (one for one in release.results if one.inputs["model"] is release.soup)
    assert view.history(task.id, "tasks/accuracy/arc_easy") == [(4, 4 / 128)]
    model = view.client.get_logged_model(view.models[release.soup.id].model_id)
    assert {(metric.key, metric.value, metric.step) for metric in model.metrics} >= {
        (name, 1 + len("soup") / 64, 4),
        ("tasks/accuracy/arc_easy", 4 / 128, 4),
    }
    assert view.inputs(heldout.id) == view.inputs(task.id) == {release.soup.id}
    assert view.history(heldout.id, "details/heldout/wiki/documents") == [(4, 3)]
    assert not view.history(task.id, name), "each result has its own"
    assert not [key for key in view.children[release.stage1.id].data.metrics if key.startswith("details/")]


def test_run_recorded_after_its_checkpoints_keeps_its_start(tracked):
    client, run = tracked.database("late"), tracked.release.stage1
    for step in (checkpoint(run, 4), run):
        [event] = [each for each in tracked.events if each.get("record", {}).get("id") == step.id]
        tracked.writer(client).write({**event, "reused": True})
    shown = View(client, "tiny").children[run.id].info
    began = datetime.fromisoformat(tracked.records[run.id].started).timestamp()
    assert shown.start_time == int(began * 1000)
