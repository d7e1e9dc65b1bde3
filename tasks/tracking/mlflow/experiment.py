"""One MLflow experiment: find its runs and logged models by artifact id, and never log a metric twice.

A server may carry out a call although its response is lost, so each function searches before it creates.
`mlflow.writer` defines what the runs mean. Only the sender's process imports this.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# MLflow reads these at import and at calls: no telemetry; no retries of its own, because we must check whether a write
# happened before repeating it; and no call may take longer than a sender may take to end.
os.environ |= {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")

from mlflow import MlflowClient, set_tracking_uri
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from infra.mlflow_database import make_database
from olmo_core.artifact.lock import locked

ARTIFACT = "olmo.artifact_id"
RELEASE = "olmo.release_id"
DIGEST = "olmo.digest"  # Of the record; set by the last call about a step, so its presence means complete.
STEP = "olmo.training_step"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # its page opens with runs and charts, not with chats

_METRICS_A_CALL = 1000  # MLflow: MAX_METRICS_PER_BATCH.
_PARAMS_A_CALL = 100  # MLflow: MAX_PARAMS_TAGS_PER_BATCH.
_PAGE = 1000


def connect(uri: str) -> MlflowClient:
    """Open a tracking server or database; only one process at a time migrates a new database."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # again, because `unset` may have removed it
    with _migration_lock(uri):
        make_database(uri)
        set_tracking_uri(uri)  # the registry looks up a version's model at this global address
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
        return client


@contextmanager
def _migration_lock(uri: str) -> Any:
    if not uri.startswith("sqlite:///"):
        with nullcontext():
            yield
        return
    database = Path(uri.removeprefix("sqlite:///"))
    with locked(database.with_name(f"{database.name}.lock")):
        yield


@dataclass
class Known:
    """The cached fields of a run of the experiment."""

    id: str
    status: str
    tags: dict[str, str]
    fresh: bool  # Created by this process, so MLflow has no metrics of it that this process does not know.


class Experiment:
    """The experiment `name`; only one process at a time may write to it."""

    def __init__(self, client: MlflowClient, name: str, artifacts: str | None) -> None:
        """Find or create the experiment.

        Args:
            client: client of the tracking server.
            name: name of the recipe.
            artifacts: URI for files of its runs; by default the server's own choice.
        """
        self.client = client
        self.name = name
        found = client.get_experiment_by_name(name)
        if found is None:
            self.id = client.create_experiment(name, artifact_location=artifacts, tags=KIND)
        else:
            self.id = found.experiment_id
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(self.id)
        self._runs: dict[tuple[str, str], Known] = {}
        self._by_id: dict[str, Known] = {}
        self._models: dict[str, LoggedModel] = {}
        self._seen: dict[str, dict[str, _Steps]] = defaultdict(dict)

    def run(self, tag: str, key: str, name: str, started: int, parent: str | None = None) -> Known:
        """Return the run whose tag `tag` is `key`; create it if there is none. `started` is in ms since 1970."""
        known = self._runs.get((tag, key)) or self._find_run(tag, key)
        if known is None:
            tags = {tag: key} | ({MLFLOW_PARENT_RUN_ID: parent} if parent else {})
            made = self.client.create_run(self.id, start_time=started, tags=tags, run_name=name)
            known = self._by_id[made.info.run_id] = Known(made.info.run_id, "RUNNING", tags, fresh=True)
        self._runs[tag, key] = known
        return known

    def release(self, release: str, started: int) -> Known:
        """Return the parent run of a release."""
        return self.run(RELEASE, release, f"release {release[:8]}", started)

    def artifact(self, release: str, artifact: str, label: str, started: int) -> Known:
        """Return the run of an artifact, a child of the first release that recorded it."""
        return self.run(ARTIFACT, artifact, label, started, self.release(release, started).id)

    def log(self, run: Known, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Set parameters and tags; setting the same values again does no harm."""
        rest = [Param(key, value) for key, value in params.items()]
        first, rest = rest[: _PARAMS_A_CALL // 2], rest[_PARAMS_A_CALL // 2 :]
        self.client.log_batch(run.id, params=first, tags=[RunTag(key, value) for key, value in tags.items()])
        for start in range(0, len(rest), _PARAMS_A_CALL):
            self.client.log_batch(run.id, params=rest[start : start + _PARAMS_A_CALL])
        run.tags.update(tags)

    def metrics(self, run: Known, metrics: Iterable[Metric]) -> None:
        """Log the metrics that MLflow does not have yet: the first value for each key and step of a run."""
        new = [metric for metric in metrics if self._steps(run, metric.key).add(metric.step)]
        try:
            for start in range(0, len(new), _METRICS_A_CALL):
                self.client.log_batch(run.id, metrics=new[start : start + _METRICS_A_CALL])
        except BaseException:
            self._seen.pop(run.id, None)
            run.fresh = False
            raise

    def end(self, run: Known, status: str, ended: int) -> None:
        """Close a run; `ended` in ms since 1970."""
        self.client.set_terminated(run.id, status=status, end_time=ended)
        run.status = status

    def reopen(self, run: Known) -> None:
        """Set an ended run to running again."""
        if run.status != "RUNNING":
            self.client.update_run(run.id, status="RUNNING")
            run.status = "RUNNING"

    def unfinished(self, parent: Known) -> list[Known]:
        """Return the child runs of `parent` with the status running."""
        wanted = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.id}' and attributes.status = 'RUNNING'"
        return [self._know(run) for run in self._search_runs(wanted)]

    def maker(self, model: LoggedModel) -> Known:
        """Return the run that a logged model is an output of."""
        run_id = str(model.source_run_id)
        return self._by_id.get(run_id) or self._know(self.client.get_run(run_id))

    def find_model(self, artifact: str) -> LoggedModel | None:
        """Return the logged model of a checkpoint or soup, None if there is none."""
        if artifact not in self._models and (found := self._search_models(artifact)):
            first, *others = sorted(found, key=lambda model: (model.creation_timestamp, model.model_id))
            for model in others:
                self.client.delete_logged_model(model.model_id)
            self._models[artifact] = first
        return self._models.get(artifact)

    def model(self, artifact: str, name: str, source: Known, step: int, tags: Mapping[str, str]) -> LoggedModel:
        """Return the logged model of a checkpoint or soup; create it if necessary, as an output of the run `source`."""
        found = self.find_model(artifact)
        if found is None:
            found = self.client.create_logged_model(
                self.id, name=name, source_run_id=source.id, tags={**tags, ARTIFACT: artifact, STEP: str(step)}
            )
            outputs = set()
        else:
            known = self.client.get_run(source.id).outputs
            outputs = {output.model_id for output in known.model_outputs} if known else set()
        if found.model_id not in outputs:
            self.client.log_outputs(source.id, [LoggedModelOutput(found.model_id, step)])
        self._models[artifact] = self.client.finalize_logged_model(found.model_id, "READY")
        return self._models[artifact]

    def remove_duplicates(self) -> None:
        """Remove duplicate runs and models: a server may carry out a create after its request timed out."""
        for (tag, key), known in self._runs.items():
            for run in self._search_runs(f"tags.`{tag}` = '{key}'"):
                if run.info.run_id != known.id:
                    self.client.delete_run(run.info.run_id)
        for artifact, model in self._models.items():
            for other in self._search_models(artifact):
                if other.model_id != model.model_id:
                    self.client.delete_logged_model(other.model_id)

    def _find_run(self, tag: str, key: str) -> Known | None:
        found = sorted(self._search_runs(f"tags.`{tag}` = '{key}'"), key=_fullest_first)
        for run in found[1:]:
            self.client.delete_run(run.info.run_id)
        return self._know(found[0]) if found else None

    def _know(self, run: Run) -> Known:
        known = Known(run.info.run_id, run.info.status, dict(run.data.tags), fresh=False)
        return self._by_id.setdefault(known.id, known)

    def _search_models(self, artifact: str) -> list[LoggedModel]:
        wanted = f"tags.`{ARTIFACT}` = '{artifact}'"
        return list(self.client.search_logged_models([self.id], filter_string=wanted, max_results=_PAGE))

    def _search_runs(self, wanted: str) -> list[Run]:
        return list(self.client.search_runs([self.id], filter_string=wanted, max_results=_PAGE))

    def _steps(self, run: Known, key: str) -> "_Steps":
        seen = self._seen[run.id]
        if key not in seen:
            logged: Sequence[Metric] = [] if run.fresh else self.client.get_metric_history(run.id, key)
            seen[key] = _Steps()
            for metric in logged:
                seen[key].add(metric.step)
        return seen[key]


class _Steps:
    """A set of training steps, one bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, step: int) -> bool:
        """Add a step; return whether it was new."""
        byte, bit = step >> 3, 1 << (step & 7)
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits)))
        new = not self._bits[byte] & bit
        self._bits[byte] |= bit
        return new


def _fullest_first(run: Run) -> tuple[bool, bool, int, str]:
    return DIGEST not in run.data.tags, not run.data.metrics, run.info.start_time, run.info.run_id
