"""A view of a release in MLflow, through its public client and without its random ids."""

import json
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion

PAGE = 1000


class View:
    def __init__(self, client: MlflowClient, recipe: str) -> None:
        self.client = client
        found = client.get_experiment_by_name(recipe)
        self.id = found.experiment_id if found else ""
        runs = list(client.search_runs([self.id], max_results=PAGE)) if found else []
        self.runs = {run.info.run_id: run for run in runs}
        self.artifact_ids = [run.data.tags["olmo.artifact_id"] for run in runs if "olmo.artifact_id" in run.data.tags]
        self.children: dict[str, Run] = {
            run.data.tags["olmo.artifact_id"]: run for run in runs if "olmo.artifact_id" in run.data.tags
        }
        self.parents: dict[str, Run] = {
            run.data.tags["olmo.release_id"]: run for run in runs if "olmo.release_id" in run.data.tags
        }
        models = list(client.search_logged_models([self.id], max_results=PAGE)) if found else []
        self.models: dict[str, LoggedModel] = {model.tags["olmo.artifact_id"]: model for model in models}
        self.model_ids = {model.model_id: model.tags["olmo.artifact_id"] for model in models}

    def artifact_of_model(self, model_id: str) -> str:
        return self.model_ids[model_id]

    def artifact_of_version(self, version: ModelVersion) -> str:
        return self.model_ids[version.source.removeprefix("models:/")]

    def made_by(self, artifact: str) -> str:
        """Return the id of the run with the model of an artifact among its outputs."""
        wanted = self.models[artifact].model_id
        [maker] = [
            run_id
            for run_id in self.runs
            if wanted in [output.model_id for output in self.client.get_run(run_id).outputs.model_outputs]
        ]
        return maker

    def inputs(self, artifact: str) -> set[str]:
        run = self.client.get_run(self.children[artifact].info.run_id)
        return {self.model_ids[model.model_id] for model in run.inputs.model_inputs}

    def history(self, artifact: str, key: str) -> list[tuple[int, float]]:
        history = self.client.get_metric_history(self.children[artifact].info.run_id, key)
        return sorted((metric.step, metric.value) for metric in history)

    def everything(self) -> dict[str, Any]:
        """Return runs, models and versions by artifact, without times of calls and parents of replays."""
        return {
            "runs": sorted([self._run(run_id) for run_id in self.runs], key=repr),
            "models": sorted([self._model(model) for model in self.model_ids], key=repr),
            "versions": sorted(
                (
                    version.name,
                    version.tags["olmo.revision"],
                    version.tags["olmo.commit"],
                    self.artifact_of_version(version),
                )
                for version in self.client.search_model_versions()
            ),
        }

    def _run(self, run_id: str) -> dict[str, Any]:
        run = self.client.get_run(run_id)
        tags = dict(run.data.tags)
        if "olmo.main_model" in tags:
            tags["olmo.main_model"] = self.model_ids[tags["olmo.main_model"]]
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = self.runs[tags["mlflow.parentRunId"]].data.tags["olmo.release_id"]
        return {
            "name": run.info.run_name,
            "status": run.info.status,
            "ended": run.info.end_time,
            "tags": tags,
            "params": run.data.params,
            "metrics": {key: self._points(run_id, key) for key in run.data.metrics},
            "datasets": sorted((one.dataset.name, one.dataset.source) for one in run.inputs.dataset_inputs),
            "inputs": sorted(self.model_ids[one.model_id] for one in run.inputs.model_inputs),
            "outputs": sorted((self.model_ids[one.model_id], one.step) for one in run.outputs.model_outputs),
        }

    def _revision(self, version: dict[str, str]) -> str:
        return self.client.get_model_version(**version).tags["olmo.revision"]

    def _points(self, run_id: str, key: str) -> list[tuple[int, float]]:
        return sorted((metric.step, metric.value) for metric in self.client.get_metric_history(run_id, key))

    def _model(self, model_id: str) -> dict[str, Any]:
        model = self.client.get_logged_model(model_id)
        tags = dict(model.tags)
        versions = json.loads(tags.pop("mlflow.modelVersions", "[]"))  # numbers depend on the order of events
        return {
            "name": model.name,
            "status": model.status.value,
            "tags": tags,
            "versions": sorted(self._revision(version) for version in versions),
            "made by": self.runs[model.source_run_id].info.run_name if model.source_run_id else None,
            "metrics": sorted((metric.key, metric.step, metric.value) for metric in model.metrics or []),
        }
