"""The model card of a revision, from its lineage alone; the words are in `card.md.j2`.

This file brings what the lineage holds into rows a reader can take in. Light: jinja2 is imported when a card is made.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from olmo_core.evaluate.step import joined
from olmo_core.hub.identifiers import check_language, check_licence
from olmo_core.hub.lineage import Lineage, step_of, steps_of
from olmo_core.hub.names import MAIN, REPOSITORY
from olmo_core.model.config import ModelConfig
from olmo_core.train.config import TrainingConfig
from olmo_core.train.objectives.table import training_of

TEMPLATE = "card.md.j2"
ID_BYTES = {"uint16": 2, "uint32": 4}  # Of one token in a token file.
ARCHITECTURES = {"olmo2": "OLMo 2", "olmo1": "OLMo 1"}


class CardConfig(BaseModel):
    """What a model card says that the rest of the recipe does not determine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repo: str = Field(
        description="Repository on the Hub, `organisation/name`; the card loads the model from it.",
        pattern=REPOSITORY,
    )
    title: str = Field(description="Name of the model, as people read it.", min_length=1)
    license: Annotated[str, AfterValidator(check_licence)] = Field(
        "apache-2.0", description="Licence of the weights, an identifier of the Hub."
    )
    languages: tuple[Annotated[str, AfterValidator(check_language)], ...] = Field(
        ("en",), description="Languages of the text, by ISO 639 code; `code` and `multilingual` are accepted too."
    )
    description: str = Field("", description="A paragraph about the release, in Markdown.")
    # Not in a card, so it bears no identity.
    public: bool = Field(
        False,
        exclude=True,
        description="Make a repository public that the release creates; one that exists keeps its visibility. Bears no "
        "identity.",
    )


def render(config: CardConfig, candidate: str, lineage: Lineage) -> str:
    """Return README.md of a revision.

    Args:
        config: what does not follow from the release.
        candidate: name of the export the revision shows.
        lineage: of the revision.
    """
    import yaml
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"cell": _cell, "count": _count, "short": _short, "share": _share, "plusminus": _plus_minus}
    model = step_of(lineage, lineage["model"])
    revision = step_of(lineage, lineage["id"])
    decision_id = revision["inputs"].get("decision")
    own = f"result/{candidate}/" if decision_id else "result/"  # main has the results of every candidate
    results = [step_of(lineage, source) for role, source in revision["inputs"].items() if role.startswith(own)]
    shape = _shape(lineage, model)
    return environment.get_template(TEMPLATE).render(
        metadata=yaml.safe_dump(_metadata(config, shape), sort_keys=False, allow_unicode=True).strip(),
        config=config,
        main=MAIN,
        lineage=lineage,
        shape=shape,
        architecture=ARCHITECTURES[shape.architecture],
        model=model,
        origin=_origin(lineage, model),
        runs=[_run(lineage, run) for run in steps_of(lineage, "run")],
        mixes=[{"name": mix["name"], **mix["result"]} for mix in steps_of(lineage, "mix")],
        sources=[*(_source(lineage, corpus) for corpus in steps_of(lineage, "corpus")), *_token_files(lineage)],
        result=joined(step["result"] for step in results) if results else None,
        decision=step_of(lineage, decision_id)["result"] if decision_id else None,
        revisions=revision["fields"]["revisions"],
    )


def _metadata(config: CardConfig, shape: ModelConfig) -> dict[str, Any]:
    return {
        "license": config.license,
        "language": list(config.languages),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": [shape.architecture, "base-model", "open-training"],
    }


def _shape(lineage: Lineage, model: dict[str, Any]) -> ModelConfig:
    """Return the shape of a checkpoint's model, of a soup that of its ingredients."""
    while model["kind"] != "run":
        model = step_of(lineage, min(model["inputs"].items())[1])
    return ModelConfig.model_validate(model["fields"]["model"])


def _origin(lineage: Lineage, model: dict[str, Any]) -> dict[str, Any]:
    """Where the weights come from: a run and how far it was, or the ingredients of a soup."""
    if model["kind"] == "checkpoint":
        run = step_of(lineage, model["inputs"]["run"])
        config, step = training_of(run["fields"]), model["fields"]["step"]
        return {"run": run["name"], "step": step, "steps": config.steps, "tokens": step * config.batch_tokens}
    return {"ingredients": [step_of(lineage, source)["name"] for _, source in sorted(model["inputs"].items())]}


def _run(lineage: Lineage, run: dict[str, Any]) -> dict[str, Any]:
    """A row of the training table."""
    config = training_of(run["fields"])
    start = run["inputs"].get("start")
    start_name = _start(step_of(lineage, start)) if start else None
    return {
        "name": run["name"],
        "start": start_name or "fresh weights",
        "mix": step_of(lineage, run["inputs"]["mix"])["name"],
        "config": config,
        "rate": _rate(config, start_name),
    }


def _start(step: dict[str, Any]) -> str:
    """What a run starts from: one of our checkpoints by its name, weights trained elsewhere by where they are."""
    fields = step["fields"]
    if step["kind"] != "pretrained":
        return str(step["name"])
    return (
        f"{fields['repo']}@{fields['revision']}" if "repo" in fields else f"{step['name']} (sha256 {fields['sha256']})"
    )


def _rate(config: TrainingConfig, start: str | None) -> str:
    """The learning rate in words."""
    schedule = config.schedule
    peak = f"the last rate of {start}" if schedule.peak == "inherit" else f"{schedule.peak:.3g}"
    warmup = f", {_count(schedule.warmup)} {schedule.unit} of warm-up" if schedule.warmup else ""
    end = f"{schedule.final:.0%} of it" if schedule.final else "zero"
    final = "" if schedule.kind == "constant" else f", down to {end}"
    return f"{schedule.kind} from {peak}{warmup}{final}"


def _source(lineage: Lineage, corpus: dict[str, Any]) -> dict[str, Any]:
    """A row of the table of sources."""
    shards = [step_of(lineage, shard) for _, shard in sorted(corpus["inputs"].items())]
    read = dict.fromkeys(package for shard in shards for _, package in sorted(shard["inputs"].items()))
    packages = [step_of(lineage, package)["fields"] for package in read]
    result = corpus["result"]
    return {
        "name": corpus["name"],
        "from": ", ".join(f"{package['name']} {package['version']}" for package in packages) or "this project",
        "licence": corpus["fields"]["licence"],
        "documents": sum(shard["documents"] for shard in result["train"]),
        "bytes": sum(shard["bytes"] for shard in result["train"]),
        "heldout": result["heldout"]["documents"],
    }


def _token_files(lineage: Lineage) -> list[dict[str, Any]]:
    """Rows of the table of sources for corpora that came as token files."""
    rows: dict[str, dict[str, Any]] = {}
    for step in steps_of(lineage, "tokens"):
        fields, result = step["fields"], step["result"]
        if "licence" in fields:
            name = step["name"].rpartition("-")[0]
            source = {"name": name, "from": fields.get("list_url", "token files"), "licence": fields["licence"]}
            row = rows.setdefault(name, source | {"documents": 0, "bytes": 0, "heldout": 0})
            counts = (row["documents"], result["documents"])
            row["documents"] = None if None in counts else sum(counts)
            row["bytes"] += result["tokens"] * ID_BYTES[result["dtype"]]
    return list(rows.values())


def _cell(text: object) -> str:
    """Text that cannot leave its cell of a table."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _count(number: float | None) -> str:
    """1638400 -> 1,638,400; what nobody has counted is a dash."""
    return "-" if number is None else f"{number:,.0f}"


def _short(number: float) -> str:
    """1638400 -> 1.64 million."""
    for size, word in ((10**12, " trillion"), (10**9, " billion"), (10**6, " million"), (10**3, " thousand")):
        if number >= size:
            return f"{number / size:.3g}{word}"
    return f"{number:.0f}"


def _share(number: float) -> str:
    """0.25 -> 25.0%."""
    return f"{100 * number:.1f}%"


def _plus_minus(row: dict[str, Any], name: str, stderr: str) -> str:
    """A metric with its standard error, or a hyphen where there is none."""
    if row.get(name) is None:
        return "-"
    error = row.get(stderr)
    return f"{row[name]:.3f} ± {error:.3f}" if error is not None else f"{row[name]:.3f}"
