"""A tracking server in memory, with the calls of MLflow's client that an experiment uses and MLflow's own limits."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_batch_log_data, _validate_batch_log_limits


class MemoryClient:
    """Keeps experiments, runs and logged models; `calls` has the names of all calls.

    A call fails where `failing` is true of its name: after it was carried out, as if only the response was lost.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: Callable[[str], bool] = lambda _: False
        self.experiments: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.history: dict[tuple[str, str], list[Metric]] = {}
        self.models: dict[str, Any] = {}
        self._numbers = count(1)

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found) or name == "failing":
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            response = found(*arguments, **options)
            if self.failing(name):
                raise MlflowException(f"response of {name} lost")
            return response

        return call

    def get_experiment_by_name(self, name: str) -> Any:
        return self.experiments.get(name)

    def create_experiment(self, name: str, artifact_location: str | None, tags: Mapping[str, str]) -> str:
        made = SimpleNamespace(
            experiment_id=f"e{next(self._numbers)}", lifecycle_stage="active", location=artifact_location, tags=tags
        )
        self.experiments[name] = made
        return str(made.experiment_id)

    def restore_experiment(self, id_: str) -> None:
        for each in self.experiments.values():
            if each.experiment_id == id_:
                each.lifecycle_stage = "active"

    def create_run(self, _: str, start_time: int, tags: Mapping[str, str], run_name: str) -> Any:
        id_ = f"r{next(self._numbers)}"
        info = SimpleNamespace(run_id=id_, run_name=run_name, status="RUNNING", start_time=start_time, end_time=None)
        data = SimpleNamespace(tags=dict(tags), params={}, metrics={})
        self.runs[id_] = SimpleNamespace(info=info, data=data, outputs=SimpleNamespace(model_outputs=[]))
        return self.runs[id_]

    def delete_run(self, id_: str) -> None:
        del self.runs[id_]

    def get_run(self, id_: str) -> Any:
        return self.runs[id_]

    def update_run(self, id_: str, status: str) -> None:
        self.runs[id_].info.status = status

    def set_terminated(self, id_: str, status: str, end_time: int) -> None:
        self.runs[id_].info.status, self.runs[id_].info.end_time = status, end_time

    def search_runs(self, _: Sequence[str], filter_string: str, max_results: int) -> list[Any]:
        wanted = re.findall(r"tags\.`([^`]*)` = '([^']*)'", filter_string)
        status = re.findall(r"attributes\.status = '(\w+)'", filter_string)
        assert wanted, filter_string
        found = [run for run in self.runs.values() if all(run.data.tags.get(tag) == value for tag, value in wanted)]
        return [run for run in found if not status or run.info.status in status]

    def log_batch(
        self, id_: str, metrics: Sequence[Metric] = (), params: Sequence[Param] = (), tags: Sequence[RunTag] = ()
    ) -> None:
        _validate_batch_log_limits(metrics, params, tags)
        _validate_batch_log_data(metrics, params, tags)
        run = self.runs[id_]
        for param in params:
            assert run.data.params.setdefault(param.key, param.value) == param.value, "MLflow refuses another value"
        run.data.tags |= {tag.key: tag.value for tag in tags}
        for metric in metrics:
            self.history.setdefault((id_, metric.key), []).append(metric)
            run.data.metrics[metric.key] = metric.value

    def get_metric_history(self, id_: str, key: str) -> list[Metric]:
        return self.history.get((id_, key), [])

    def create_logged_model(self, _: str, name: str, tags: Mapping[str, str], source_run_id: str) -> Any:
        number = next(self._numbers)
        self.models[f"m{number}"] = SimpleNamespace(
            model_id=f"m{number}",
            name=name,
            tags=dict(tags),
            source_run_id=source_run_id,
            creation_timestamp=number,
            status="PENDING",
        )
        return self.models[f"m{number}"]

    def delete_logged_model(self, id_: str) -> None:
        del self.models[id_]

    def finalize_logged_model(self, id_: str, status: str) -> Any:
        self.models[id_].status = status
        return self.models[id_]

    def search_logged_models(self, _: Sequence[str], filter_string: str, max_results: int) -> list[Any]:
        ((tag, value),) = re.findall(r"tags\.`([^`]*)` = '([^']*)'", filter_string)
        return [model for model in self.models.values() if model.tags.get(tag) == value]

    def log_outputs(self, id_: str, models: Sequence[Any]) -> None:
        self.runs[id_].outputs.model_outputs += models
