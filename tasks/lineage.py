"""What the events of a release mean in MLflow: runs, datasets, logged models, registered versions, curves.

An experiment is a recipe, its parent runs are releases with the scores of their `main`, each of its child runs is one
artifact, whichever release made it. Models and datasets join the child runs, so the lineage can be walked from a soup
back to its corpora. Events may come twice and in any order. Only the shipper's process imports this.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModel, LoggedModelInput, Metric
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_RUN_NAME,
    MLFLOW_RUN_NOTE,
)

from olmo_core.artifact.record import Input, Record
from olmo_core.artifact.store import Store
from olmo_core.hub.names import MAIN
from tasks.dataset_source import ArtifactSource
from tasks.entries import artifact_table, code_tags, record_tags, scores, source_tags, training_values
from tasks.experiment import ARTIFACT, DIGEST, RELEASE, STEP, Experiment, Known
from tasks.flatten import TAG_LENGTH, cut, key, numbers, params, unused
from tasks.registry import COMMIT, REVISION, Registry

ORIGIN = "olmo.origin"
REPOSITORY = "olmo.repo"
MAIN_MODEL = "olmo.main_model"
HISTORY = "history.jsonl"  # Of a run: one JSON object a line, `step` and numbers.
MODELS = ("checkpoint", "soup", "pretrained")
DATASETS = ("corpus", "mix", "suite")
_DATASET_DIGEST = 36  # MLflow: MAX_DATASET_DIGEST_SIZE; the source holds the whole digest.
_CONTEXTS = {"run": "training", "result": "evaluation"}


class Lineage:
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
        self._started: dict[str, str] = {}

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
                self._step(experiment, event["release"], record, event["root"], event["reused"])
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

    def _parent(self, experiment: Experiment, release: str, started: int) -> Known:
        return experiment.run(RELEASE, release, f"release {release[:8]}", started)

    def _child(self, experiment: Experiment, release: str, artifact: str, label: str, started: int) -> Known:
        parent = self._parent(experiment, release, started)
        return experiment.run(ARTIFACT, artifact, label, started, parent.id)

    def _release(self, experiment: Experiment, event: Mapping[str, Any]) -> None:
        self._labels |= {step["id"]: step["label"] for step in event["plan"]}
        parent = self._parent(experiment, event["release"], _ms(event["time"]))
        experiment.reopen(parent)
        self._client.set_experiment_tag(experiment.id, MLFLOW_RUN_NOTE, event["values"].get("description", ""))
        tags = {"olmo.recipe": event["recipe"], "olmo.steps": str(len(event["plan"])), **code_tags(event["code"])}
        tags |= {MLFLOW_RUN_NOTE: artifact_table("step", [(each["label"], "", each["id"]) for each in event["plan"]])}
        experiment.log(parent, params(event["values"]), tags | source_tags(experiment.name))

    def _metrics(self, experiment: Experiment, event: Mapping[str, Any]) -> None:
        points = event["points"]
        artifact, (_, started, _) = event["id"], points[0]
        label = self._labels.get(artifact, f"run/{artifact[:12]}")
        run = self._child(experiment, event["release"], artifact, label, _ms(started))
        if run.status in ("FAILED", "KILLED"):
            experiment.reopen(run)
        experiment.metrics(
            run,
            [
                Metric(name, value, _ms(now), _training_step(step))
                for step, now, values in points
                for name, value in training_values(values).items()
            ],
        )

    def _step(self, experiment: Experiment, release: str, record: Record, root: str, reused: bool) -> None:
        run = self._child(experiment, release, record.id, record.label, _iso_ms(record.started))
        if run.tags.get(DIGEST) == record.digest:
            if not reused and run.tags.get(ORIGIN) != "made":
                experiment.log(run, {}, {ORIGIN: "made"})
            return
        tags = {**record_tags(record), MLFLOW_RUN_NAME: record.label, ORIGIN: "reused" if reused else "made"}
        made_from = [(role, f"{source.kind}/{source.name}", source.id) for role, source in record.inputs.items()]
        tags |= {MLFLOW_RUN_NOTE: artifact_table("input", made_from)} if made_from else {}
        tags |= source_tags(experiment.name)
        experiment.log(run, params(record.payload["fields"]), tags)
        at = _iso_ms(record.finished)
        measured = {"seconds": record.seconds, **numbers(record.energy or {}, "energy/")}
        if record.kind != "result":
            measured |= {unused(name, measured): value for name, value in numbers(record.result, "result/").items()}
        experiment.metrics(run, [Metric(name, value, at, 0) for name, value in measured.items()])
        self._inputs(experiment, release, run, record, root)
        if record.kind == "run":
            experiment.metrics(run, _history(record, root))
        elif record.kind in MODELS:
            self._model_made(experiment, release, run, record, root)
        elif record.kind == "result":
            self._evaluated(experiment, release, run, record, root)
        experiment.end(run, "FINISHED", at)
        experiment.log(run, {}, {DIGEST: record.digest})

    def _inputs(self, experiment: Experiment, release: str, run: Known, record: Record, root: str) -> None:
        context = [InputTag(MLFLOW_DATASET_CONTEXT, _CONTEXTS.get(record.kind, "preparation"))]
        datasets = [
            DatasetInput(_dataset(source, root), context)
            for source in record.inputs.values()
            if source.kind in DATASETS and source.digest
        ]
        models = [
            LoggedModelInput(self._model(experiment, release, source, root).model_id)
            for source in record.inputs.values()
            if source.kind in MODELS
        ]
        if datasets or models:
            self._client.log_inputs(run.id, datasets=datasets, models=models)

    def _model(self, experiment: Experiment, release: str, source: Input, root: str) -> LoggedModel:
        """The logged model of an input; where nobody told of it yet, it is told now from its record in the store."""
        if (found := experiment.find_model(source.id)) is None:
            self._step(experiment, release, _record_of(source, root), root, reused=True)
            found = experiment.find_model(source.id)
        if found is None:
            raise LookupError(f"{source.kind}/{source.name} has no logged model after its record was told")
        return found

    def _model_made(self, experiment: Experiment, release: str, run: Known, record: Record, root: str) -> None:
        """Make the logged model of a checkpoint, an output of its training run, or of another, an output of its own.

        A soup stands at the step of its last ingredient, what was trained elsewhere at 0.
        """
        if record.kind == "checkpoint":
            source = record.inputs["run"]
            label = f"{source.kind}/{source.name}"
            if source.id not in self._started:  # MLflow shows a run from where it was first told of
                whole = _find(source, root)
                self._started[source.id] = record.started if whole is None else whole.started
            maker = self._child(experiment, release, source.id, label, _iso_ms(self._started[source.id]))
            step = _training_step(record.payload["fields"]["step"])
        else:
            maker = run
            step = max(
                (
                    int(self._model(experiment, release, source, root).tags[STEP])
                    for source in record.inputs.values()
                    if source.kind in MODELS
                ),
                default=0,
            )
        name = key(record.name).replace("/", "_").replace(":", "_").replace(".", "_")
        experiment.model(record.id, name, maker, step, record_tags(record))

    def _evaluated(self, experiment: Experiment, release: str, run: Known, record: Record, root: str) -> None:
        """Put scores on the curve of the run that made the model, at its training step, and beside the model itself."""
        model = self._model(experiment, release, record.inputs["model"], root)
        step, at = int(model.tags[STEP]), _iso_ms(record.finished)
        found = scores(record.result)
        experiment.metrics(
            run, [Metric(name, value, at, step, model_id=model.model_id) for name, value in found.items()]
        )
        everything = numbers({part: record.result.get(part, {}) for part in ("heldout", "tasks")}, "details/")
        experiment.metrics(run, [Metric(name, value, at, step) for name, value in everything.items()])
        maker = experiment.maker(model)
        experiment.metrics(maker, [Metric(name, value, at, step) for name, value in found.items()])
        parent = self._parent(experiment, release, at)
        if parent.tags.get(MAIN_MODEL) == model.model_id:
            self._main_scores(experiment, parent)

    def _main_scores(self, experiment: Experiment, parent: Known) -> None:
        """Put the scores of `main`, as far as they are known, beside the release, so that releases compare."""
        model = self._client.get_logged_model(parent.tags[MAIN_MODEL])
        known = [Metric(each.key, each.value, each.timestamp, each.step) for each in model.metrics or []]
        experiment.metrics(parent, known)

    def _repository(self, experiment: Experiment, event: Mapping[str, Any]) -> None:
        """Put the evaluated revisions of a repository on curves, one run for each that their names tell of."""
        at, repo = _ms(event["time"]), event["repo"]
        parent = self._parent(experiment, event["release"], at)
        experiment.log(parent, {}, {MLFLOW_RUN_NAME: f"evaluations of {repo}", REPOSITORY: repo})
        for name, points in event["runs"].items():
            run = self._child(experiment, event["release"], f"{repo}/{name}", f"{repo} {name}", at)
            own = [(_training_step(step), scores(result)) for step, result in points]
            values = [Metric(name, value, at, step) for step, found in own for name, value in found.items()]
            experiment.metrics(run, values)
            experiment.end(run, "FINISHED", at)
        experiment.end(parent, "FINISHED", at)

    def _revision(self, experiment: Experiment, event: Mapping[str, Any]) -> None:
        source = Input(**event["model"], digest=None)
        model = self._model(experiment, event["release"], source, event["root"])
        tags = {REVISION: event["name"], COMMIT: event["commit"], ARTIFACT: event["id"]}
        aliases = [event["name"], MAIN] if event["main"] else [event["name"]]
        Registry(self._client).version(event["repo"], model, tags, aliases)
        if event["main"]:
            parent = self._parent(experiment, event["release"], _ms(event["time"]))
            experiment.log(parent, {}, {"olmo.main": f"{source.kind}/{source.name}", MAIN_MODEL: model.model_id})
            self._main_scores(experiment, parent)

    def _end(self, experiment: Experiment, event: Mapping[str, Any]) -> None:
        at = _ms(event["time"])
        parent = self._parent(experiment, event["release"], at)
        counts = {f"olmo.steps_{name}": str(count) for name, count in event["steps"].items()}
        experiment.log(parent, {}, counts)
        if event["event"] == "finished":
            experiment.end(parent, "FINISHED", at)
            return
        for run in experiment.unfinished(parent):
            experiment.end(run, "FAILED", at)
        experiment.log(parent, {}, {"olmo.failure": cut(event["reason"], TAG_LENGTH)})
        experiment.end(parent, "FAILED", at)


def _history(record: Record, root: str) -> list[Metric]:
    """What a run kept of its metrics: those that never came live are told from here."""
    lines = Store(root).objects.read(f"{record.files_folder}/{HISTORY}")
    if lines is None:
        raise LookupError(f"{root} holds no {record.files_folder}/{HISTORY}")
    at = _iso_ms(record.finished)
    return [
        Metric(name, value, at, _training_step(values["step"]))
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


def _training_step(step: Any) -> int:
    if not isinstance(step, int) or step < 0:
        raise ValueError(f"training step {step!r} is no whole number from 0 on")
    return step


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _iso_ms(text: str) -> int:
    return _ms(datetime.fromisoformat(text).timestamp())
