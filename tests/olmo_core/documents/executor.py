"""A minimal executor: runs a step and its inputs in folders of the test, without a store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job

Make = Callable[[Step], Artifact]


@pytest.fixture
def results() -> dict[str, dict[str, Any]]:
    """Return values of the work functions, by step id."""
    return {}


@pytest.fixture
def make(tmp_path: Path, results: dict[str, dict[str, Any]]) -> Make:
    def run(step: Step) -> Artifact:
        inputs = {role: run(source) for role, source in step.inputs.items()}
        out = tmp_path / "made" / step.folder
        if step.id not in results:
            out.mkdir(parents=True)
            assert step.work is not None
            results[step.id] = step.work(Job(step=step, inputs=inputs, out=out))
        return Artifact(step, None, out)  # type: ignore[arg-type]

    return run
