"""Step `result`: one model on one group (a task, or all held-out text), declared without importing torch."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import Step
from olmo_core.artifact.imports import swift_imports
from olmo_core.artifact.job import Job
from olmo_core.evaluate.task import HELDOUT

RESULT_VERSION = 4
DOCUMENTS_FILE = "documents.jsonl.gz"
RESULTS_FILE = "results.json"
PARTS = ("heldout", "tasks")  # of `results.json`: by corpus, by task


class EvaluationConfig(BaseModel):
    """How much held-out text is scored, and the precision of evaluation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    heldout_bytes: int | None = Field(
        None,
        ge=1,
        description="Maximum UTF-8 bytes scored per held-out source; documents are selected by hash, at least two. "
        "All if not given.",
    )
    document_bytes: int | None = Field(
        None, ge=4, description="Maximum UTF-8 bytes scored per document, from its start; all if not given."
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="Arithmetic of the forward pass.")


def heldout_result_step(config: EvaluationConfig, model: Step, tokenizer: Step, corpora: Mapping[str, Step]) -> Step:
    """Return the step that scores the held-out documents of corpora (name -> step) with `model`."""
    inputs = {"model": model, "tokenizer": tokenizer}
    inputs |= {f"heldout/{name}": corpus for name, corpus in corpora.items()}
    fields = config.model_dump(mode="json")
    return Step("result", f"{model.name}-{HELDOUT}", RESULT_VERSION, fields, inputs, _score_heldout)


def task_result_step(config: EvaluationConfig, model: Step, tokenizer: Step, task: Step) -> Step:
    """Return the step that scores the items of a task with `model`; of `config` only the precision matters."""
    fields = config.model_dump(mode="json", include={"precision"})
    inputs = {"model": model, "tokenizer": tokenizer, "task": task}
    return Step("result", f"{model.name}-{task.name}", RESULT_VERSION, fields, inputs, _score_task)


def group_of(inputs: Mapping[str, Any]) -> str:
    """Return the group of a result, given the inputs by role of its step or its record."""
    return str(inputs["task"].name) if "task" in inputs else HELDOUT


def joined(results: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Merge the results of one model on several groups: `heldout` by corpus, `tasks` by task."""
    whole: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for result in results:
        for part in PARTS:
            whole[part].update(result[part])
    return whole


def _score_heldout(job: Job) -> dict[str, Any]:
    with swift_imports():
        from olmo_core.evaluate.result import score_heldout
    return score_heldout(job)


def _score_task(job: Job) -> dict[str, Any]:
    with swift_imports():
        from olmo_core.evaluate.result import score_task
    return score_task(job)
