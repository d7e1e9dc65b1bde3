"""The model card of what the small release of `test_revision` has not: OLMo 1, token files, weights from elsewhere."""

import pytest
from huggingface_hub import ModelCard
from pydantic import ValidationError

from olmo_core.hub.card import CardConfig, render
from olmo_core.model.config import preset

COMMIT = "a" * 40


def entry(kind, name, fields, inputs=(), **more):
    return {"kind": kind, "name": name, "id": name, "fields": fields, "inputs": dict(inputs), **more}


def shard(number, documents):
    fields = {"list_url": "https://there/list.yaml", "licence": "ODC-By-1.0", "shard": number}
    result = {"tokens": 500, "documents": documents, "dtype": "uint32"}
    return entry("tokens", f"far-away-{number:05d}", fields, result=result)


def corpus():
    """A corpus of two shards that read the same package."""
    package = entry("package", "kit", {"name": "kit", "version": "1.2"})
    shards = [entry("documents", f"pages-{n}", {"shard": n}, {"kit": "kit"}) for n in (0, 1)]
    part = {"documents": 3, "bytes": 1500}
    result = {"train": [part, part], "heldout": {"documents": 2, "bytes": 90}}
    inputs = {f"documents/{n:05d}": shard["id"] for n, shard in enumerate(shards)}
    return [package, *shards, entry("corpus", "pages", {"licence": "CC0-1.0"}, inputs, result=result)]


def card(start, **schedule):
    training = {
        "objective": "language-modelling", "tokens": 1024, "seed": 1, "batch_size": 8, "sequence_length": 32,
        "checkpoint_every": 4,
        "schedule": {"kind": "constant", "peak": 1e-3, **schedule}, "model": preset("olmo1-1b").model_dump(mode="json"),
    }  # fmt: skip
    lineage = {
        "revision": "main",
        "id": "main",
        "model": "end",
        "steps": [
            start,
            *corpus(),
            shard(0, 7),
            shard(1, 5),
            entry("mix", "pretrain", {}, result={"sources": []}),
            entry("run", "stage1", training, {"mix": "pretrain", "start": start["id"]}),
            entry("checkpoint", "end", {"step": 4}, {"run": "stage1"}),
            entry("revision", "main", {"revisions": []}),
        ],
    }
    return render(CardConfig(repo="olmo/test", title="Test"), "end", lineage)


def test_olmo1_token_files_and_a_start_from_the_hub_are_told():
    text = card(entry("pretrained", "base", {"repo": "allenai/OLMo-1B-hf", "revision": COMMIT}))
    assert "a language model of the OLMo 1 architecture with 1.18 billion parameters" in text
    assert ModelCard(text).data.tags == ["olmo1", "base-model", "open-training"]
    assert "| pages | kit 1.2 | CC0-1.0 | 6 | 3,000 | 2 |" in text
    assert "| far-away | https://there/list.yaml | ODC-By-1.0 | 12 | 4,000 | 0 |" in text
    assert f"| stage1 | allenai/OLMo-1B-hf@{COMMIT} | pretrain |" in text


def test_a_start_from_a_folder_is_told_by_its_digest():
    text = card(entry("pretrained", "base", {"path": "/home/me/base", "sha256": "b" * 64}))
    assert f"| stage1 | base (sha256 {'b' * 64}) | pretrain |" in text
    assert "/home/me" not in text


def test_a_start_from_a_checkpoint_is_told_by_its_name():
    assert "| stage1 | stage0-step9 | pretrain |" in card(entry("checkpoint", "stage0-step9", {"step": 9}))


@pytest.mark.parametrize("unit", ["tokens", "steps"])
def test_warm_up_is_told_in_the_unit_of_the_schedule(unit):
    text = card(entry("checkpoint", "stage0-step9", {"step": 9}), warmup=2, unit=unit)
    assert f"constant from 0.001, 2 {unit} of warm-up" in text


@pytest.mark.parametrize(
    ("said", "near"),
    [("Apache License 2.0", "apache-2.0"), ("MIT License", "mit"), ("CC BY 4.0", "cc-by-4.0"), ("GPL 3.0", "gpl-3.0")],
)
def test_a_licence_is_one_the_hub_knows(said, near):
    with pytest.raises(ValidationError, match=f"not a licence identifier of the Hub.*did you mean '{near}'"):
        CardConfig(repo="a/b", title="T", license=said)
    assert CardConfig(repo="a/b", title="T", license=near).license == near


@pytest.mark.parametrize(
    ("said", "near"), [("english", "en"), ("Norwegian", "no"), ("EN", "en"), ("pt-BR", "pt"), ("xx-xx", "give one")]
)
def test_a_language_is_one_the_hub_knows(said, near):
    with pytest.raises(ValidationError, match=f"not an ISO 639 language code.*{near}"):
        CardConfig(repo="a/b", title="T", languages=(said,))
    assert CardConfig(repo="a/b", title="T", languages=("en", "no", "nob", "code")).languages[1] == "no"
