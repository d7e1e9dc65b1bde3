"""Write the events of a release to MLflow as runs, datasets, logged models, registered versions and metrics.

An experiment is a recipe. Its parent runs are releases, with the scores of their `main`; each child run is an artifact,
whichever release made it. Models and datasets connect the child runs, so the lineage leads from a soup back to its
corpora. Events may arrive twice and in any order. Only the sender's process imports this.
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
    milliseconds,
    params,
    scores,
    source_tags,
    training_step,
    training_values,
    truncate,
)
from tasks.tracking.mlflow.models import COMMIT, REVISION, Registry
from tasks.tracking.mlflow.records import MAIN_MODEL, RecordWriter

REPOSITORY = "olmo.repo"


class MlflowWriter:
    """Writes the events of the outbox to MLflow; only one writer at a time may use a tracking server."""

    def __init__(self, client: MlflowClient, artifacts: str | None) -> None:
        """Set up a writer without writing anything.

        Args:
            client: client of the tracking server.
            artifacts: URI of a folder for the files of runs; by default the server's own choice.
        """
        self._client = client
        self._artifacts = artifacts
        self._experiments: dict[str, Experiment] = {}
        self._labels: dict[str, str] = {}
        self._records = RecordWriter(client)

    def write(self, event: Mapping[str, Any]) -> None:
        """Write one event.

        Raises:
            MlflowException: MLflow cannot be reached or refuses it.
            LookupError, ValueError, TypeError: the event is malformed.
        """
        experiment = self._experiment(event["recipe"])
        match event["event"]:
            case "release":
                self._release(experiment, event)
            case "step":
                record = Record.model_validate(event["record"])
                self._records.tell(experiment, event["release"], record, event["root"], event["reused"])
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

    def remove_duplicates(self) -> None:
        """Remove runs and models that were created twice; call it some time after failed calls."""
        for experiment in self._experiments.values():
            experiment.remove_duplicates()

    def probe(self, recipe: str) -> None:
        """Write something harmless.

        Raises:
            MlflowException: MLflow accepts no writes at the moment.
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
        """Log the scores of a repository's evaluated revisions, one run for each run in their names."""
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
        model = self._records.model(experiment, event["release"], source, event["root"])
        tags = {REVISION: event["name"], COMMIT: event["commit"], ARTIFACT: event["id"]}
        aliases = [event["name"], MAIN] if event["main"] else [event["name"]]
        Registry(self._client).version(event["repo"], model, tags, aliases)
        if event["main"]:
            parent = experiment.release(event["release"], milliseconds(event["time"]))
            experiment.log(parent, {}, {"olmo.main": f"{source.kind}/{source.name}", MAIN_MODEL: model.model_id})
            self._records.main_scores(experiment, parent)

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
        experiment.log(parent, {}, {"olmo.failure": truncate(event["reason"], TAG_LENGTH)})
        experiment.end(parent, "FAILED", at)
