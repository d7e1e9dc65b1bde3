"""The step `export`: a checkpoint or soup in the form that transformers reads, with its tokenizer.

Planning imports this file, so it stays light; `convert` does the work.
"""

from typing import Any, Literal

from olmo_core.artifact.identity import Step
from olmo_core.artifact.imports import swift_imports
from olmo_core.artifact.job import Job

EXPORT_VERSION = 2


def export_step(model: Step, tokenizer: Step, dtype: Literal["float32", "bfloat16"] = "float32") -> Step:
    """Return the step that exports `model` to files transformers can load, with those of its tokenizer.

    Args:
        model: a checkpoint or a soup.
        tokenizer: the tokenizer that made its training tokens.
        dtype: type of the exported weights; native weights are fp32.
    """
    return Step(
        kind="export",
        name=model.name,
        version=EXPORT_VERSION,
        fields={"dtype": dtype},
        inputs={"model": model, "tokenizer": tokenizer},
        work=_export,
    )


def _export(job: Job) -> dict[str, Any]:
    with swift_imports():
        from olmo_core.hub.convert import export
    return export(job)
