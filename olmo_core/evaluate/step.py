"""Step `result`: the evaluation of one checkpoint or soup. Declared here without torch; the work is in `result`."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from olmo_core.artifact.identity import Step
from olmo_core.artifact.imports import swift_imports
from olmo_core.artifact.job import Job

RESULT_VERSION = 3
DOCUMENTS_FILE = "documents.jsonl.gz"
RESULTS_FILE = "results.json"


class EvaluationConfig(BaseModel):
    """How much held-out text is scored, and in which precision models are evaluated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    heldout_bytes: int | None = Field(
        None,
        ge=1,
        description="UTF-8 bytes scored of each held-out source, at most; documents are drawn by hash, at least two. "
        "All when not given.",
    )
    document_bytes: int | None = Field(
        None, ge=4, description="UTF-8 bytes scored of each document, from its beginning; all when not given."
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="Arithmetic of the forward pass.")


def result_step(
    config: EvaluationConfig,
    model: Step,
    tokenizer: Step,
    suite: Step,
    heldout: Mapping[str, Step],
    name: str | None = None,
) -> Step:
    """Return the step that evaluates `model` on a suite and on the held-out documents of corpora (name -> step)."""
    inputs = {"model": model, "tokenizer": tokenizer, "suite": suite}
    inputs |= {f"heldout/{source}": corpus for source, corpus in heldout.items()}
    fields = config.model_dump(mode="json")
    return Step("result", name or model.name, RESULT_VERSION, fields, inputs, _evaluate)


def _evaluate(job: Job) -> dict[str, Any]:
    with swift_imports():
        from olmo_core.evaluate.result import evaluate
    return evaluate(job)
