"""The step `revision`: the files behind a name on the Hub, which are the export, its card and its lineage.

`main` is such a step too: its inputs are the exports of all candidates, and it uses the one that the decision names.
`publication` publishes revisions. Light to import.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.artifact.record import FileEntry, Record
from olmo_core.hub.card import CardConfig, render
from olmo_core.hub.lineage import LINEAGE_FILE, encode, lineage
from olmo_core.hub.names import MAIN, check_name, in_order

REVISION_VERSION = 3
CARD_FILE = "README.md"
LIST_FILE = "revisions.txt"


def revision_step(name: str, card: CardConfig, export: Step, results: Mapping[str, Step]) -> Step:
    """Return the step whose artifact is the revision `name`: the files of `export`, README.md and lineage.json.

    Args:
        name: as computed by `names`.
        card: text and metadata of the model card.
        export: the model in Hugging Face form.
        results: its results by group, for the card.
    """
    inputs = {f"export/{export.name}": export}
    inputs |= {f"result/{group}": step for group, step in results.items()}
    fields = {"revision": check_name(name), "card": card.model_dump(mode="json"), "revisions": []}
    return Step("revision", name, REVISION_VERSION, fields, inputs, make_revision)


def main_step(
    card: CardConfig,
    decision: Step,
    exports: Mapping[str, Step],
    results: Mapping[str, Mapping[str, Step]],
    revisions: Sequence[str],
) -> Step:
    """Return the step whose artifact is the revision `main`: that of the candidate the decision names.

    Args:
        card: text and metadata of the model card.
        decision: names the candidate.
        exports: candidate -> its export, for every candidate of the decision.
        results: candidate -> its results by group.
        revisions: names of all other revisions, listed in the card and in revisions.txt.

    Raises:
        ValueError: a candidate of the decision has no export.
    """
    candidates = {role.partition("/")[2] for role in decision.inputs if role.startswith("candidate/")}
    if missing := sorted(candidates - exports.keys()):
        raise ValueError(
            f"main may become {missing[0]}, which has no export; give one of every candidate of the decision"
        )
    fields = {
        "revision": MAIN,
        "card": card.model_dump(mode="json"),
        "revisions": in_order({check_name(name) for name in revisions} | {MAIN}),
    }
    inputs = {"decision": decision}
    inputs |= {f"export/{candidate}": step for candidate, step in exports.items()}
    inputs |= {f"result/{name}/{group}": step for name, own in results.items() for group, step in own.items()}
    return Step("revision", MAIN, REVISION_VERSION, fields, inputs, make_revision)


def native_step(revision: Artifact) -> Step:
    """Return the checkpoint or soup whose weights a revision has."""
    return next(step for step in revision.step.closure() if step.id == revision.record.result["model"])


def make_revision(job: Job) -> dict[str, Any]:
    """Assemble the revision; return its name, the candidate it shows and the id of that checkpoint or soup."""
    candidate = _candidate(job)
    export = job.inputs[f"export/{candidate}"]
    model = export.step.inputs["model"]
    for entry in export.record.files:
        _place(export.path / entry.path, job.out / entry.path)
    lines = lineage(job.step, model, _records(job))
    card = CardConfig.model_validate(job.fields["card"])
    papers = {CARD_FILE: render(card, candidate, lines)}
    if job.fields["revisions"]:
        papers[LIST_FILE] = "".join(f"{name}\n" for name in job.fields["revisions"])
    for name, text in papers.items():
        (job.out / name).write_bytes(text.encode())
    files = [*export.record.files, *(_entry(name, text.encode()) for name, text in papers.items())]
    (job.out / LINEAGE_FILE).write_bytes(encode(lines, files))
    return {"revision": job.fields["revision"], "candidate": candidate, "model": model.id}


def _entry(path: str, content: bytes) -> FileEntry:
    return FileEntry(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _candidate(job: Job) -> str:
    if "decision" in job.inputs:
        return str(job.inputs["decision"].record.result["main"])
    (role,) = (role for role in job.inputs if role.startswith("export/"))
    return role.partition("/")[2]


def _records(job: Job) -> dict[str, Record]:
    """Return the records of all steps before this one, except runs, which may not be finished."""
    records = {}
    for step in job.step.closure():
        if step.kind != "run" and step.id != job.step.id:
            artifact = job.find(step)
            if artifact is None:
                raise LookupError(
                    f"{job.step.label} depends on {step.label} (id {step.id[:12]}), which is not in the store"
                )
            records[step.id] = artifact.record
    return records


def _place(source: Path, target: Path) -> None:
    """Link the file, or copy it to another disk: weights are large, and artifacts do not change."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
