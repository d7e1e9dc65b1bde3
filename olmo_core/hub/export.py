"""The step `export`: a checkpoint or soup in the form transformers reads, with its tokenizer.

Light: planning imports this file. The work is in `convert`.
"""

from typing import Any, Literal

from olmo_core.artifact.identity import Step
from olmo_core.artifact.imports import swift_imports
from olmo_core.artifact.job import Job

EXPORT_VERSION = 2


def export_step(model: Step, tokenizer: Step, dtype: Literal["float32", "bfloat16"] = "float32") -> Step:
    """The step whose artifact is `model` as transformers loads it, tokenizer files included.

    Args:
        model: a checkpoint or a soup.
        tokenizer: the tokenizer its tokens were made with.
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
