"""What one record is in MLflow: its run, with what it was made from, the model or curve it is, and its scores.

Only the sender's process imports this.
"""

import json
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModel, LoggedModelInput, Metric
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from olmo_core.artifact.record import Input, Record
from olmo_core.artifact.store import Store
from olmo_core.recipe.kinds import Kind, Lane, kind_called
from olmo_core.train.step import HISTORY_FILE
from tasks.tracking.mlflow.dataset_source import ArtifactSource
from tasks.tracking.mlflow.experiment import DIGEST, STEP, Experiment, Known
from tasks.tracking.mlflow.format import (
    artifact_table,
    key,
    moment,
    numbers,
    params,
    record_tags,
    scores,
    source_tags,
    training_step,
    training_values,
    unused,
)

ORIGIN = "olmo.origin"
MAIN_MODEL = "olmo.main_model"
_DATASET_DIGEST = 36  # MLflow: MAX_DATASET_DIGEST_SIZE; the source holds the whole digest.


class RecordWriter:
    """Writes each record to MLflow once, after the records it depends on."""

    def __init__(self, client: MlflowClient) -> None:
        """Write nothing yet."""
        self._client = client
        self._started: dict[str, str] = {}

    def tell(self, experiment: Experiment, release: str, record: Record, root: str, reused: bool) -> None:
        """Write the record of a step of a release; the step's files are in the store at `root`.

        Raises:
            LookupError: the store lacks a record or a file that this record refers to.
        """
        run = experiment.artifact(release, record.id, record.label, moment(record.started))
        if run.tags.get(DIGEST) == record.digest:
            if not reused and run.tags.get(ORIGIN) != "made":
                experiment.log(run, {}, {ORIGIN: "made"})
            return
        tags = {**record_tags(record), MLFLOW_RUN_NAME: record.label, ORIGIN: "reused" if reused else "made"}
        made_from = [(role, f"{source.kind}/{source.name}", source.id) for role, source in record.inputs.items()]
        tags |= {MLFLOW_RUN_NOTE: artifact_table("input", made_from)} if made_from else {}
        tags |= source_tags(experiment.name)
        experiment.log(run, params(record.payload["fields"]), tags)
        at = moment(record.finished)
        measured = {"seconds": record.seconds, **numbers(record.energy or {}, "energy/")}
        kind = kind_called(record.kind)
        if not kind.scores:
            measured |= {unused(name, measured): value for name, value in numbers(record.result, "result/").items()}
        experiment.metrics(run, [Metric(name, value, at, 0) for name, value in measured.items()])
        self._inputs(experiment, release, run, record, root)
        if kind.lane is Lane.TRAINING:
            experiment.metrics(run, _history(record, root))
        elif kind.holds == "model":
            self._model_made(experiment, release, run, record, root)
        elif kind.scores:
            self._evaluated(experiment, release, run, record, root)
        experiment.end(run, "FINISHED", at)
        experiment.log(run, {}, {DIGEST: record.digest})

    def _inputs(self, experiment: Experiment, release: str, run: Known, record: Record, root: str) -> None:
        context = [InputTag(MLFLOW_DATASET_CONTEXT, _context(kind_called(record.kind)))]
        datasets = [
            DatasetInput(_dataset(source, root), context)
            for source in record.inputs.values()
            if kind_called(source.kind).holds == "dataset" and source.digest
        ]
        models = [
            LoggedModelInput(self.model(experiment, release, source, root).model_id)
            for source in record.inputs.values()
            if kind_called(source.kind).holds == "model"
        ]
        if datasets or models:
            self._client.log_inputs(run.id, datasets=datasets, models=models)

    def model(self, experiment: Experiment, release: str, source: Input, root: str) -> LoggedModel:
        """Return the logged model of an input, written now from its record in the store if MLflow has none yet."""
        if (found := experiment.find_model(source.id)) is None:
            self.tell(experiment, release, _record_of(source, root), root, reused=True)
            found = experiment.find_model(source.id)
        if found is None:
            raise LookupError(f"{source.kind}/{source.name} has no logged model although its record was written")
        return found

    def _model_made(self, experiment: Experiment, release: str, run: Known, record: Record, root: str) -> None:
        """Make the logged model of a checkpoint, an output of its training run, or of another, an output of its own.

        A soup stands at the step of its last ingredient, what was trained elsewhere at 0.
        """
        if kind_called(record.kind).lane is Lane.PARENT:
            source = record.inputs["run"]
            label = f"{source.kind}/{source.name}"
            if source.id not in self._started:  # MLflow shows a run from the first time it hears of it
                whole = _find(source, root)
                self._started[source.id] = record.started if whole is None else whole.started
            maker = experiment.artifact(release, source.id, label, moment(self._started[source.id]))
            step = training_step(record.payload["fields"]["step"])
        else:
            maker = run
            step = max(
                (
                    int(self.model(experiment, release, source, root).tags[STEP])
                    for source in record.inputs.values()
                    if kind_called(source.kind).holds == "model"
                ),
                default=0,
            )
        name = key(record.name).replace("/", "_").replace(":", "_").replace(".", "_")
        experiment.model(record.id, name, maker, step, record_tags(record))

    def _evaluated(self, experiment: Experiment, release: str, run: Known, record: Record, root: str) -> None:
        """Put scores on the curve of the run that made the model, at its training step, and beside the model itself."""
        model = self.model(experiment, release, record.inputs["model"], root)
        step, at = int(model.tags[STEP]), moment(record.finished)
        found = scores(record.result)
        experiment.metrics(
            run, [Metric(name, value, at, step, model_id=model.model_id) for name, value in found.items()]
        )
        everything = numbers({part: record.result.get(part, {}) for part in ("heldout", "tasks")}, "details/")
        experiment.metrics(run, [Metric(name, value, at, step) for name, value in everything.items()])
        maker = experiment.maker(model)
        experiment.metrics(maker, [Metric(name, value, at, step) for name, value in found.items()])
        parent = experiment.release(release, at)
        if parent.tags.get(MAIN_MODEL) == model.model_id:
            self.main_scores(experiment, parent)

    def main_scores(self, experiment: Experiment, parent: Known) -> None:
        """Log the known scores of `main` on the run of the release, so that releases can be compared."""
        model = self._client.get_logged_model(parent.tags[MAIN_MODEL])
        known = [Metric(each.key, each.value, each.timestamp, each.step) for each in model.metrics or []]
        experiment.metrics(parent, known)


def _history(record: Record, root: str) -> list[Metric]:
    """Return the metrics from a run's own history; it holds those that were never sent live."""
    lines = Store(root).objects.read(f"{record.files_folder}/{HISTORY_FILE}")
    if lines is None:
        raise LookupError(f"{root} holds no {record.files_folder}/{HISTORY_FILE}")
    at = moment(record.finished)
    return [
        Metric(name, value, at, training_step(values["step"]))
        for values in map(json.loads, lines.splitlines())
        for name, value in training_values(_numbers_of(values)).items()
    ]


def _numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, int | float)}


def _record_of(source: Input, root: str) -> Record:
    record = _find(source, root)
    if record is None:
        raise LookupError(f"{root} holds no {source.kind}/{source.name} with the id {source.id}")
    return record


def _find(source: Input, root: str) -> Record | None:
    return next((record for record in Store(root).records(source.kind) if record.id == source.id), None)


def _dataset(source: Input, root: str) -> Dataset:
    digest = str(source.digest)
    where = ArtifactSource(root, source.kind, source.name, source.id, digest)
    return Dataset(
        f"{source.kind}/{source.name}", digest[:_DATASET_DIGEST], ArtifactSource._get_source_type(), where.to_json()
    )


def _context(kind: Kind) -> str:
    """Return what MLflow calls the use of a data set by a step of this kind."""
    if kind.lane is Lane.TRAINING:
        return "training"
    return "evaluation" if kind.scores else "preparation"
