"""One experiment: found instead of created again, calls within MLflow's limits, and every metric logged once."""

from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memory_client import MemoryClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from tasks.tracking.mlflow import experiment as experiments
from tasks.tracking.mlflow.experiment import ARTIFACT, DIGEST, RELEASE, STEP, Experiment, Known, _migration_lock, _Steps


@pytest.fixture
def client() -> MemoryClient:
    return MemoryClient()


def opened(client: MemoryClient, name: str = "tiny") -> Experiment:
    """Return the experiment as a new sender opens it, without anything remembered."""
    return Experiment(cast(Any, client), name, "file:///artifacts")


def logged(client: MemoryClient, run: Known) -> list[tuple[str, int, float]]:
    return [(key, one.step, one.value) for (id_, key), all_ in client.history.items() if id_ == run.id for one in all_]


def metric(key: str, step: int, value: float) -> Metric:
    return Metric(key, value, 1000, step)


def test_experiment_is_created_once_and_restored_after_its_deletion(client: MemoryClient) -> None:
    first = opened(client)
    client.experiments["tiny"].lifecycle_stage = "deleted"
    second = opened(client)
    opened(client)
    assert first.id == second.id
    assert client.experiments["tiny"].lifecycle_stage == "active"
    assert client.experiments["tiny"].location == "file:///artifacts"
    assert Counter(client.calls) == {"get_experiment_by_name": 3, "create_experiment": 1, "restore_experiment": 1}


def test_run_is_found_by_its_tag_after_a_restart(client: MemoryClient) -> None:
    first = opened(client).artifact("r1", "a" * 64, "corpus/wisdom", 1000)
    again = opened(client).artifact("r1", "a" * 64, "corpus/wisdom", 9000)
    assert (first.id, first.fresh, again.id, again.fresh) == (again.id, True, first.id, False)
    assert client.runs[first.id].info.start_time == 1000, "when it was first heard of"
    assert len(client.runs) == 2, "the artifact and its release"


def test_artifact_stays_a_child_of_the_first_release(client: MemoryClient) -> None:
    experiment = opened(client)
    first = experiment.artifact("r1", "a" * 64, "corpus/wisdom", 1000)
    assert opened(client).artifact("r2", "a" * 64, "corpus/wisdom", 2000).id == first.id
    (parent,) = [run for run in client.runs.values() if run.data.tags.get(RELEASE) == "r1"]
    assert client.runs[first.id].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.info.run_name == "release r1"


@settings(max_examples=20)
@given(st.integers(0, 350), st.integers(0, 60))
@example(51, 0)
@example(151, 60)
def test_any_number_of_parameters_fits_into_calls_of_mlflow(params: int, tags: int) -> None:
    client = MemoryClient()
    experiment = opened(client)
    run = experiment.release("r1", 1000)
    given_params = {f"p{number}": str(number) for number in range(params)}
    given_tags = {f"t{number}": str(number) for number in range(tags)}
    for _ in range(2):
        experiment.log(run, given_params, given_tags)
    data = client.runs[run.id].data
    assert data.params == given_params
    assert data.tags == {RELEASE: "r1", **given_tags} == run.tags


POINTS = st.lists(st.tuples(st.sampled_from(["loss", "lr"]), st.integers(0, 40), st.floats(-5, 5)), max_size=40)


@settings(max_examples=40)
@given(st.lists(st.tuples(POINTS, st.booleans(), st.booleans()), max_size=5))
def test_each_step_of_a_metric_is_logged_once_whatever_is_sent_again(
    rounds: list[tuple[list[tuple[str, int, float]], bool, bool]],
) -> None:
    """The first value stays, across restarts and calls whose response is lost."""
    client = MemoryClient()
    experiment = opened(client)
    expected: dict[tuple[str, int], float] = {}
    for points, restarted, lost in rounds:
        experiment = opened(client) if restarted else experiment
        run = experiment.release("r1", 1000)
        for key, step, value in points:
            expected.setdefault((key, step), value)
        client.failing = lambda name, lost=lost: lost and name == "log_batch"
        try:
            experiment.metrics(run, [metric(*each) for each in points])
        except MlflowException:
            client.failing = lambda _: False
            experiment.metrics(run, [metric(*each) for each in points])
        client.failing = lambda _: False
        found = logged(client, run)
        assert {(key, step): value for key, step, value in found} == expected
        assert len(found) == len(expected)


def test_thousands_of_metrics_go_in_calls_of_a_thousand(client: MemoryClient) -> None:
    experiment = opened(client)
    run = experiment.release("r1", 1000)
    experiment.metrics(run, [metric("loss", step, 1.0) for step in range(2500)])
    assert client.calls.count("log_batch") == 3
    assert sorted(step for _, step, _ in logged(client, run)) == list(range(2500))


def test_failure_in_the_middle_is_completed_without_repetition(client: MemoryClient) -> None:
    experiment = opened(client)
    run = experiment.release("r1", 1000)
    points = [metric("loss", step, 1.0) for step in range(2500)]
    client.failing = lambda name: name == "log_batch" and client.calls.count(name) == 2
    with pytest.raises(MlflowException, match="response of log_batch lost"):
        experiment.metrics(run, points)
    experiment.metrics(run, points)
    assert sorted(step for _, step, _ in logged(client, run)) == list(range(2500))
    assert "get_metric_history" in client.calls, "what the server has is asked for after a failure"


def test_history_is_asked_for_once_per_metric_and_never_of_a_new_run(client: MemoryClient) -> None:
    new = opened(client)
    for step in (1, 2):
        new.metrics(new.release("r1", 1000), [metric("loss", step, 1.0)])
    assert "get_metric_history" not in client.calls
    later = opened(client)
    for step in (2, 3, 4):
        later.metrics(later.release("r1", 1000), [metric("loss", step, 2.0), metric("lr", step, 1.0)])
    assert client.calls.count("get_metric_history") == 2
    assert logged(client, later.release("r1", 1000))[:4] == [("loss", step, 1.0 + (step > 2)) for step in (1, 2, 3, 4)]


def test_run_that_runs_is_not_reopened(client: MemoryClient) -> None:
    experiment = opened(client)
    run = experiment.release("r1", 1000)
    experiment.reopen(run)
    assert "update_run" not in client.calls
    experiment.end(run, "FAILED", 2000)
    assert (client.runs[run.id].info.status, client.runs[run.id].info.end_time) == ("FAILED", 2000)
    experiment.reopen(run)
    experiment.reopen(run)
    assert client.calls.count("update_run") == 1
    assert client.runs[run.id].info.status == "RUNNING" == run.status


def test_unfinished_are_the_running_children_of_one_release(client: MemoryClient) -> None:
    experiment = opened(client)
    running, ended = (experiment.artifact("r1", name * 64, f"run/{name}", 1000) for name in "ab")
    experiment.artifact("r2", "c" * 64, "run/c", 1000)
    experiment.end(ended, "FINISHED", 2000)
    assert [run.id for run in experiment.unfinished(experiment.release("r1", 1000))] == [running.id]


SAME = [
    ("complete", {DIGEST: "d"}, {}, 9),
    ("with metrics", {}, {"loss": 1.0}, 8),
    ("older", {}, {}, 1),
    ("newer", {}, {}, 2),
]


@pytest.mark.parametrize("order", permutations(SAME), ids=lambda order: " ".join(name[0] for name, *_ in order))
def test_fullest_of_duplicate_runs_is_kept(order: tuple[Any, ...], client: MemoryClient) -> None:
    opened(client)
    for name, tags, metrics, started in order:
        run = client.create_run("e1", started, {ARTIFACT: "a" * 64, **tags}, name)
        run.data.metrics.update(metrics)
    left = [name for name, *_ in SAME]
    while left:
        found = opened(client).run(ARTIFACT, "a" * 64, "corpus/wisdom", 1000)
        assert client.runs[found.id].info.run_name == left[0]
        assert len(client.runs) == 1
        client.delete_run(found.id)
        left = left[1:]
        for name, tags, metrics, started in order:
            if name in left:
                client.create_run("e1", started, {ARTIFACT: "a" * 64, **tags}, name).data.metrics.update(metrics)


def test_oldest_of_duplicate_models_is_kept(client: MemoryClient) -> None:
    experiment = opened(client)
    maker = experiment.artifact("r1", "b" * 64, "run/stage1", 1000)
    models = [client.create_logged_model("e1", "m", {ARTIFACT: "a" * 64}, maker.id) for _ in range(3)]
    found = experiment.find_model("a" * 64)
    assert found is not None and found.model_id == models[0].model_id
    assert list(client.models) == [models[0].model_id]
    searches = client.calls.count("search_logged_models")
    experiment.find_model("a" * 64)
    assert client.calls.count("search_logged_models") == searches, "it is remembered"


def test_model_is_one_output_of_its_run_even_if_a_response_is_lost(client: MemoryClient) -> None:
    lost = {"log_outputs", "finalize_logged_model"}
    for _ in range(4):
        experiment = opened(client)
        maker = experiment.artifact("r1", "b" * 64, "run/stage1", 1000)

        def failing(name: str) -> bool:
            if name in lost:
                lost.remove(name)
                return True
            return False

        client.failing = failing
        try:
            model = experiment.model("a" * 64, "stage1-step4", maker, 4, {"olmo.kind": "checkpoint"})
        except MlflowException:
            continue
    assert len(client.models) == 1 and model.status == "READY"
    assert model.tags == {"olmo.kind": "checkpoint", ARTIFACT: "a" * 64, STEP: "4"}
    outputs = client.runs[maker.id].outputs.model_outputs
    assert [(each.model_id, each.step) for each in outputs] == [(model.model_id, 4)]


def test_maker_of_a_model_is_known_or_asked_for(client: MemoryClient) -> None:
    experiment = opened(client)
    maker = experiment.artifact("r1", "b" * 64, "run/stage1", 1000)
    model = experiment.model("a" * 64, "stage1-step4", maker, 4, {})
    assert experiment.maker(model) is maker
    other = opened(client)
    assert other.maker(model).id == maker.id
    assert client.calls[-1] == "get_run"


def test_duplicates_that_appear_late_are_removed(client: MemoryClient) -> None:
    experiment = opened(client)
    run = experiment.artifact("r1", "b" * 64, "run/stage1", 1000)
    model = experiment.model("a" * 64, "stage1-step4", run, 4, {})
    client.create_run("e1", 1, {ARTIFACT: "b" * 64, DIGEST: "d"}, "late")
    client.create_run("e1", 1, {ARTIFACT: "c" * 64}, "of another")
    client.create_logged_model("e1", "late", {ARTIFACT: "a" * 64}, run.id)
    experiment.remove_duplicates()
    assert {each.info.run_name for each in client.runs.values()} == {"release r1", "run/stage1", "of another"}
    assert list(client.models) == [model.model_id]


@given(st.lists(st.integers(0, 3000), max_size=60))
def test_set_of_steps_is_a_set(steps: list[int]) -> None:
    ours, theirs = _Steps(), set[int]()
    for step in steps:
        assert ours.add(step) == (step not in theirs)
        theirs.add(step)


def test_new_database_is_migrated_under_a_lock_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Path] = []
    locked = experiments.locked
    monkeypatch.setattr(experiments, "locked", lambda path: held.append(path) or locked(path))
    with _migration_lock(f"sqlite:///{tmp_path}/mlflow.db"):
        assert held == [tmp_path / "mlflow.db.lock"] and held[0].exists()
    for address in ("http://127.0.0.1:5000", "postgresql://db/mlflow"):
        with _migration_lock(address):
            assert len(held) == 1, "a server has no file to lock"
