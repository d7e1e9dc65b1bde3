"""Filters decide by tags: every document is kept or dropped for one reason, and another limit reads no text."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from olmo_core.artifact.identity import Step
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.documents.corpus import CorpusConfig, corpus_step, read_training, shards_of
from olmo_core.documents.file_digests import FileDigests
from olmo_core.documents.filters.filter import Limits
from olmo_core.documents.filters.table import FILTERS
from olmo_core.documents.listing import list_files
from olmo_core.documents.verdict import judge, resolved

GOOD = "Line {n} of the text has words that have an end, and they go on to the end of it. " * 4
SHORT = "Too short, number {n}."


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def corpus(folder: Path, filters: dict[str, Any], **changes: Any) -> Step:
    source = {"reader": "jsonl", "paths": [str(folder / "*.jsonl")], "shard_bytes": 4000}
    given = {"source": source, "licence": "CC0-1.0", "heldout": 0.4, "filters": filters, **changes}
    config = CorpusConfig.model_validate(given)
    return corpus_step("pages", config, {}, list_files(config.source.paths, FileDigests().of))  # type: ignore[union-attr]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = [(GOOD if number % 3 else SHORT).format(n=number) for number in range(60)] + [GOOD.format(n=1)]
    lines = [json.dumps({"id": f"p{number}", "text": text}) for number, text in enumerate(texts)]
    (tmp_path / "pages.jsonl").write_text("\n".join(lines))
    return tmp_path


def made(step: Step, store: Store) -> dict[str, Any]:
    for source in step.closure():
        result = make(source, store)
    return result.artifact.record.result


def test_corpus_accounts_for_every_document_and_shows_what_filters_drop(folder: Path, store: Store) -> None:
    step = corpus(folder, {"gopher-quality": {}})
    assert len(shards_of(step)) > 1
    report = made(step, store)
    assert report["dropped"] == {"duplicate": 1, "gopher-quality words": 20}
    assert sum(shard["documents"] for shard in report["train"]) + report["heldout"]["documents"] == 40
    rule = report["filters"]["gopher-quality words"]
    assert (rule["found"], rule["dropped"]) == (20, 20)
    assert rule["examples"] == [f"p{n}: Too short, number {n}." for n in (0, 3, 6)]
    found = store.find(step)
    assert found is not None
    inputs = {"corpus": found} | {f"corpus/{role}": store.find(each) for role, each in step.inputs.items()}
    assert all("Too short" not in document.text for document in read_training(inputs, "corpus"))  # type: ignore[arg-type]


def test_another_limit_reads_no_text(folder: Path) -> None:
    one, other = (corpus(folder, {"gopher-quality": {"words": {"least": n}}}) for n in (50, 3))
    assert one.id != other.id
    assert one.inputs == other.inputs, "documents and tags are the same steps"


def test_filter_that_is_not_used_leaves_the_identity(folder: Path) -> None:
    assert "filters" not in corpus(folder, {}).fields
    more = corpus(folder, {"gopher-quality": {}, "c4": {}})
    assert {role: more.inputs[role] for role in corpus(folder, {"c4": {}}).inputs} == corpus(folder, {"c4": {}}).inputs


def test_published_limits_bear_identity() -> None:
    words = resolved({"gopher-quality": {}})["gopher-quality"]
    assert words["words"] == {"least": 50, "most": 100_000} and set(words) == set(FILTERS["gopher-quality"].limits)
    assert resolved({"gopher-quality": {"words": Limits()}})["gopher-quality"]["words"] == {}, "no limit"


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"gophre": {}}, r"filters\.gophre: no such filter; there are gopher-quality, "),
        ({"c4": {"words": {"least": 3}}}, r"filters\.c4\.words: no such value; it measures unended_lines, "),
        ({"c4": {"javascript": {"most": 0, "at": 1}}}, "at"),
    ],
)
def test_unknown_filter_or_value_is_refused(folder: Path, filters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        corpus(folder, filters)


@given(st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), max_size=30))
def test_document_is_dropped_for_the_first_reason_it_meets(rows: list[list[float]]) -> None:
    tags = np.array(rows).reshape(-1, 5)
    limits = {name: {"most": 0.5} for name in FILTERS["c4"].limits}
    verdict = judge(len(rows), {"c4": limits}, {"c4": tags})
    assert sum(map(len, verdict.dropped.values())) + verdict.passed.sum() == len(rows)
    for column, name in enumerate(limits):
        first = [n for n, row in enumerate(rows) if row[column] > 0.5 and max(row[:column], default=0) <= 0.5]
        assert verdict.dropped[f"c4 {name}"].tolist() == first
        assert verdict.by_rule[f"c4 {name}"] == sum(row[column] > 0.5 for row in rows)


def test_first_of_nearly_equal_documents_is_kept(tmp_path: Path, store: Store) -> None:
    words = [f"w{number}" for number in range(200)]
    pages = [" ".join(words), " ".join([*words, "More!"]), " ".join(words[::-1]), " ".join(words).upper()]
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"id": f"p{n}", "text": text}) for n, text in enumerate(pages))
    )
    near = {"near_duplicates": {"bands": 20, "rows": 4}, "heldout": 0.0}
    report = made(corpus(tmp_path, {}, **near), store)
    assert report["dropped"] == {"duplicate": 1, "near duplicate": 1} and report["train"][0]["documents"] == 2
    plain = corpus(tmp_path, {}, heldout=0.0)
    assert made(plain, store)["dropped"] == {"duplicate": 1}
    assert shards_of(plain) == shards_of(corpus(tmp_path, {}, **near)), "documents are read once"


def test_dropped_document_does_not_stand_for_its_cluster(tmp_path: Path, store: Store) -> None:
    body = " ".join(["the"] * 2 + [f"word{number}" for number in range(100)])
    pages = {"code": f"{body} {{", "page": body}
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"id": n, "text": text}) for n, text in pages.items()))
    step = corpus(tmp_path, {"c4": {}}, near_duplicates={}, heldout=0.0)
    report = made(step, store)
    assert report["dropped"] == {"c4 curly_bracket": 1} and report["train"] == [{"bytes": len(body), "documents": 1}]
