"""A miniature release: real steps, store and records, with trivial work; for tests of tracking."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Job
from olmo_core.artifact.make import make
from olmo_core.artifact.record import Record
from olmo_core.artifact.store import Store
from tasks.tracking.events import EventLog


def make_corpus(job: Job) -> dict[str, Any]:
    (job.out / "train.txt").write_text(job.step.name)
    return {"documents": 12, "licence": "CC0", "by_source": {"wiki": 7, "tasks": 5}}


def make_mix(job: Job) -> dict[str, Any]:
    (job.out / "mix.json").write_text(json.dumps(job.fields["seed"]))
    return {"tokens": 1000}


def train(job: Job) -> dict[str, Any]:
    history = []
    for step in range(1, job.fields["steps"] + 1):
        values = {"loss": loss(job.fields["seed"], step), "lr": 0.25 / step}
        history.append(json.dumps({"step": step, **values}))
        job.metrics(step, {**values, "tokens_per_second": 100.0 + step})
        if step % job.fields["checkpoint_every"] == 0:
            folder = job.out.with_name(f"new-{step}")
            folder.mkdir()
            (folder / "model.safetensors").write_text(f"{job.step.id} {step}")
            job.commit(checkpoint(job.step, step), folder)
    (job.out / "history.jsonl").write_text("\n".join(history) + "\n")
    return {"steps": job.fields["steps"]}


def make_soup(job: Job) -> dict[str, Any]:
    (job.out / "model.safetensors").write_text("mean")
    return {"ingredients": len(job.inputs)}


def evaluate(job: Job) -> dict[str, Any]:
    number = len(job.inputs["model"].step.name)
    results: dict[str, dict[str, Any]] = {"heldout": {}, "tasks": {}}
    if "task" in job.inputs:
        results["tasks"]["arc_easy"] = {"accuracy": number / 128, "primary": "accuracy", "documents": 3}
    else:
        results["heldout"]["wiki"] = {"bits_per_byte": 1 + number / 64, "documents": 3}
    (job.out / "results.json").write_text(json.dumps(results))
    return results


def export(job: Job) -> dict[str, Any]:
    (job.out / "config.json").write_text("{}")
    return {}


def loss(seed: int, step: int) -> float:
    return 8 / (step + seed)


def checkpoint(run: Step, step: int) -> Step:
    return Step("checkpoint", f"{run.name}-step{step}", 1, {"step": step}, {"run": run})


def run(name: str, mix: Step, seed: int, steps: int, every: int, start: Step | None = None) -> Step:
    fields = {"seed": seed, "steps": steps, "checkpoint_every": every, "model": {"d_model": 8, "heads": [1, 2]}}
    inputs = {"mix": mix} | ({"start": start} if start else {})
    return Step("run", name, 1, fields, inputs, train)


@dataclass
class Release:
    """Two stages, two seeds, a soup; the checkpoints of stage 1 and all ends are evaluated and published."""

    steps: int = 4
    every: int = 2
    corpora: int = 1
    seeds: int = 2
    plan: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.corpus = Step("corpus", "wiki", 1, {"source": "wiki"}, {}, make_corpus)
        others = [Step("corpus", f"other{i}", 1, {"source": i}, {}, make_corpus) for i in range(1, self.corpora)]
        mixes = [Step("mix", f"stage{i}", 1, {"seed": i}, {"wiki": self.corpus}, make_mix) for i in (1, 2)]
        self.stage1 = run("stage1", mixes[0], 0, self.steps, self.every)
        self.start = checkpoint(self.stage1, self.steps)
        self.stage2 = [
            run(f"stage2-ingredient{i}", mixes[1], i, self.steps, self.every, self.start)
            for i in range(1, self.seeds + 1)
        ]
        ends = {f"ingredient{i}": checkpoint(one, self.steps) for i, one in enumerate(self.stage2, 1)}
        self.soup = Step("soup", "soup", 1, {"method": "uniform"}, ends, make_soup)
        self.models = [
            *(checkpoint(self.stage1, step) for step in self.saved()),
            *ends.values(),
            self.soup,
        ]
        self.task = Step("task", "arc_easy", 1, {}, {}, make_corpus)
        groups = {"heldout": {"heldout/wiki": self.corpus}, "arc_easy": {"task": self.task}}
        self.results = [
            Step("result", f"{model.name}-{group}", 1, {}, {"model": model, **inputs}, evaluate)
            for model in self.models
            for group, inputs in groups.items()
        ]
        self.exports = [Step("export", m.name, 1, {"dtype": "float32"}, {"model": m}, export) for m in self.models]
        self.revisions = [Step("revision", e.name, 1, {}, {"export": e}, export) for e in self.exports]
        tops = [*others, *self.results, *self.revisions]
        self.plan = list({step.id: step for top in tops for step in top.closure()}.values())

    def saved(self) -> range:
        return range(self.every, self.steps + 1, self.every)

    def make(self, store: Store, outbox: EventLog | None = None) -> dict[str, Record]:
        """Make every step and record it in the outbox; return records by id."""
        records: dict[str, Record] = {}
        if outbox:
            outbox.release({"name": "tiny", "stages": {"stage1": {"steps": self.steps}}}, self.plan)
        for step in self.runs_first():
            metrics = None
            if outbox and step.kind == "run":
                outbox_, id_ = outbox, step.id

                def metrics(at: int, values: Mapping[str, float], outbox: EventLog = outbox_, id_: str = id_) -> None:
                    outbox.metrics(id_, at, values)

            made = make(step, store, metrics=metrics)
            records[step.id] = made.artifact.record
            if outbox:
                outbox.step(store.root, made.artifact.record, made.reused)
        if outbox:
            for revision, model in zip(self.revisions, self.models, strict=True):
                outbox.revision(
                    "org/olmo-tiny", revision.name, revision.id[:40], revision, model, store.root, model is self.soup
                )
            outbox.finished()
        return records

    def runs_first(self) -> list[Step]:
        """Return the plan in an order of execution: a run commits its checkpoints."""
        done: dict[str, Step] = {}

        def visit(step: Step) -> None:
            for source in step.inputs.values():
                visit(source)
            done.setdefault(step.id, step)

        for step in self.plan:
            visit(step)
        return list(done.values())
