"""Work functions that the tests of the artifact room name in their steps."""

import os
from pathlib import Path
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job


def words(job: Job) -> dict[str, Any]:
    """Write a file of words and count how often the work ran in a log outside the artifact."""
    text = " ".join([str(job.fields.get("word", "word"))] * int(job.fields.get("count", 3)))
    (job.out / "words.txt").write_text(text)
    (job.out / "deep").mkdir()
    (job.out / "deep" / "length.bin").write_bytes(len(text).to_bytes(8, "little"))
    _note("words")
    return {"length": len(text)}


def join(job: Job) -> dict[str, Any]:
    """Join the words of all inputs."""
    text = "\n".join((job.inputs[role].path / "words.txt").read_text() for role in sorted(job.inputs))
    (job.out / "words.txt").write_text(text)
    _note("join")
    return {}


def random_bytes(job: Job) -> dict[str, Any]:
    """Break the rule that the same step gives the same bytes."""
    (job.out / "words.txt").write_text(os.urandom(16).hex())
    return {}


def failing(job: Job) -> dict[str, Any]:
    """Write something and fail unless the file ARTIFACT_TEST_WELL exists."""
    (job.out / "words.txt").write_text("half")
    if not Path(os.environ["ARTIFACT_TEST_WELL"]).exists():
        raise ValueError("not well")
    return {}


def linking(job: Job) -> dict[str, Any]:
    """Put a link into the artifact, which the commit refuses."""
    (job.out / "link").symlink_to("/etc/hostname")
    return {}


def not_json(job: Job) -> dict[str, Any]:
    """Return something that has no canonical form."""
    return {"loss": float("nan")}


def run(job: Job) -> dict[str, Any]:
    """Commit checkpoints, starting after the last one found; ARTIFACT_TEST_DIE_AT kills the process after one."""
    start = 0
    for number in range(int(job.fields["checkpoints"])):
        if job.find(checkpoint(job.step, number)) is not None:
            start = number + 1
    for number in range(start, int(job.fields["checkpoints"])):
        _note(f"checkpoint{number}")
        folder = job.out / "saving"
        folder.mkdir()
        (folder / "model.bin").write_bytes(bytes([number]) * 1000)
        job.commit(checkpoint(job.step, number), folder)
        if os.environ.get("ARTIFACT_TEST_DIE_AT") == str(number):
            os.kill(os.getpid(), 9)
    (job.out / "history.jsonl").write_text("done\n")
    return {}


def checkpoint(parent: Step, number: int) -> Step:
    """Return the step of one checkpoint of a run."""
    return Step("checkpoint", f"run-step{number}", 1, {"step": number}, {"run": parent})


def _note(what: str) -> None:
    if log := os.environ.get("ARTIFACT_TEST_LOG"):
        with Path(log).open("a") as file:
            file.write(what + "\n")


def gated(job: Job) -> dict[str, Any]:
    """Report that the work has begun and wait for the gate, if the environment names one."""
    (job.out / "words.txt").write_text("gated")
    if gate := os.environ.get("ARTIFACT_TEST_GATE"):
        Path(f"{gate}.begun").write_text("begun")
        Path(gate).read_text()
    return {}
