"""What the events of a release mean in MLflow: runs, datasets, logged models, registered versions, curves.

An experiment is a recipe, its parent runs are releases with the scores of their `main`, each of its child runs is one
artifact, whichever release made it. Models and datasets join the child runs, so the lineage can be walked from a soup
back to its corpora. Events may come twice and in any order. Only the sender's process imports this.
"""

from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from olmo_core.artifact.record import Input, Record
from olmo_core.hub.names import MAIN
from tasks.tracking.mlflow.experiment import ARTIFACT, Experiment
from tasks.tracking.mlflow.format import (
    TAG_LENGTH,
    artifact_table,
    code_tags,
    cut,
    milliseconds,
    params,
    scores,
    source_tags,
    training_step,
    training_values,
)
from tasks.tracking.mlflow.models import COMMIT, REVISION, Registry
from tasks.tracking.mlflow.records import MAIN_MODEL, RecordWriter

REPOSITORY = "olmo.repo"


class MlflowWriter:
    """Tells MLflow what the outbox holds; one at a time may write to a tracking server."""

    def __init__(self, client: MlflowClient, artifacts: str | None) -> None:
        """Nothing is told yet.

        Args:
            client: of the tracking server.
            artifacts: URI of a folder for the files of runs; the server's own choice when None.
        """
        self._client = client
        self._artifacts = artifacts
        self._experiments: dict[str, Experiment] = {}
        self._labels: dict[str, str] = {}
        self._told = RecordWriter(client)

    def tell(self, event: Mapping[str, Any]) -> None:
        """Tell one event.

        Raises:
            MlflowException: MLflow cannot be reached or does not take it.
            LookupError, ValueError, TypeError: the event is not what it should be.
        """
        experiment = self._experiment(event["recipe"])
        match event["event"]:
            case "release":
                self._release(experiment, event)
            case "step":
                record = Record.model_validate(event["record"])
                self._told.tell(experiment, event["release"], record, event["root"], event["reused"])
            case "metrics":
                self._metrics(experiment, event)
            case "revision":
                self._revision(experiment, event)
            case "repository":
                self._repository(experiment, event)
            case "finished" | "failed":
                self._end(experiment, event)
            case other:
                raise ValueError(f"no such event: {other!r}")

    def settle(self) -> None:
        """Remove what was made twice; to be called some time after calls that failed."""
        for experiment in self._experiments.values():
            experiment.settle()

    def probe(self, recipe: str) -> None:
        """Write something harmless.

        Raises:
            MlflowException: nothing can be written at all now.
        """
        experiment = Experiment(self._client, recipe, self._artifacts)
        self._client.set_experiment_tag(experiment.id, "olmo.recipe", recipe)

    def _experiment(self, recipe: str) -> Experiment:
        if recipe not in self._experiments:
            self._experiments[recipe] = Experiment(self._client, recipe, self._artifacts)
        return self._experiments[recipe]

    def _release(self, experiment: Experiment, event: Mapping[str, Any]) -> None:
        self._labels |= {step["id"]: step["label"] for step in event["plan"]}
        parent = experiment.release(event["release"], milliseconds(event["time"]))
        experiment.reopen(parent)
        self._client.set_experiment_tag(experiment.id, MLFLOW_RUN_NOTE, event["values"].get("description", ""))
        tags = {"olmo.recipe": event["recipe"], "olmo.steps": str(len(event["plan"])), **code_tags(event["code"])}
        tags |= {MLFLOW_RUN_NOTE: artifact_table("step", [(each["label"], "", each["id"]) for each in event["plan"]])}
        experiment.log(parent, params(event["values"]), tags | source_tags(experiment.name))

    def _metrics(self, experiment: Experiment, event: Mapping[str, Any]) -> None:
        points = event["points"]
        artifact, (_, started, _) = event["id"], points[0]
        label = self._labels.get(artifact, f"run/{artifact[:12]}")
        run = experiment.artifact(event["release"], artifact, label, milliseconds(started))
        if run.status in ("FAILED", "KILLED"):
            experiment.reopen(run)
        experiment.metrics(
            run,
            [
                Metric(name, value, milliseconds(now), training_step(step))
                for step, now, values in points
                for name, value in training_values(values).items()
            ],
        )

    def _repository(self, experiment: Experiment, event: Mapping[str, Any]) -> None:
        """Put the evaluated revisions of a repository on curves, one run for each that their names tell of."""
        at, repo = milliseconds(event["time"]), event["repo"]
        parent = experiment.release(event["release"], at)
        experiment.log(parent, {}, {MLFLOW_RUN_NAME: f"evaluations of {repo}", REPOSITORY: repo})
        for name, points in event["runs"].items():
            run = experiment.artifact(event["release"], f"{repo}/{name}", f"{repo} {name}", at)
            own = [(training_step(step), scores(result)) for step, result in points]
            values = [Metric(name, value, at, step) for step, found in own for name, value in found.items()]
            experiment.metrics(run, values)
            experiment.end(run, "FINISHED", at)
        experiment.end(parent, "FINISHED", at)

    def _revision(self, experiment: Experiment, event: Mapping[str, Any]) -> None:
        source = Input(**event["model"], digest=None)
        model = self._told.model(experiment, event["release"], source, event["root"])
        tags = {REVISION: event["name"], COMMIT: event["commit"], ARTIFACT: event["id"]}
        aliases = [event["name"], MAIN] if event["main"] else [event["name"]]
        Registry(self._client).version(event["repo"], model, tags, aliases)
        if event["main"]:
            parent = experiment.release(event["release"], milliseconds(event["time"]))
            experiment.log(parent, {}, {"olmo.main": f"{source.kind}/{source.name}", MAIN_MODEL: model.model_id})
            self._told.main_scores(experiment, parent)

    def _end(self, experiment: Experiment, event: Mapping[str, Any]) -> None:
        at = milliseconds(event["time"])
        parent = experiment.release(event["release"], at)
        counts = {f"olmo.steps_{name}": str(count) for name, count in event["steps"].items()}
        experiment.log(parent, {}, counts)
        if event["event"] == "finished":
            experiment.end(parent, "FINISHED", at)
            return
        for run in experiment.unfinished(parent):
            experiment.end(run, "FAILED", at)
        experiment.log(parent, {}, {"olmo.failure": cut(event["reason"], TAG_LENGTH)})
        experiment.end(parent, "FAILED", at)
