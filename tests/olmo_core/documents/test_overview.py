"""An overview of files: exact if they are small, else an estimate near the truth; errors name what is there."""

import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from olmo_core.documents import file_digests
from olmo_core.documents.listing import ListingError, list_files, time_of_change
from olmo_core.documents.overview import Overview, OverviewError, overview
from olmo_core.documents.sources.files import FileSource
from olmo_core.documents.sources.jsonl import JsonlSource
from olmo_core.documents.tally import Documents

SENTENCE = "the people of this town say that they do not know where all of the water went in the night"
WORDS = SENTENCE.split()


def write(path: Path, rows: Iterable[dict[str, Any] | str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data, 3) if path.suffix == ".gz" else data)


def many(seed: int, count: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [{"url": f"{seed}/{n}", "body": " ".join(draw.choices(WORDS, k=draw.randint(5, 100)))} for n in range(count)]


def documents(found: Overview) -> Documents:
    (corpus,) = found.corpora
    return corpus.sounding.documents


def test_a_small_corpus_is_counted(tmp_path: Path) -> None:
    rows = [{"id": n, "text": f"{'tree ' * n}é"} for n in range(20)]
    write(tmp_path / "a.jsonl", [*rows, {"id": 21, "text": "TREE  \u00e9 "}, {"id": 22, "text": " "}])
    found = overview(str(tmp_path))
    sizes = [5 * n + 2 for n in range(20)] + [8]
    assert documents(found) == Documents(
        exact=True,
        count=21,
        bytes=sum(sizes),
        looked_at=21,
        looked_at_bytes=(tmp_path / "a.jsonl").stat().st_size,
        mean=sum(sizes) / 21,
        median=sorted(sizes)[10],
        p95=sorted(sizes)[19],
        duplicates=1,
    )
    (corpus,) = found.corpora
    assert [(bad.reason, bad.rows, bad.share) for bad in corpus.sounding.bad] == [("no characters", 1, 1 / 22)]
    assert corpus.source == {"reader": "jsonl", "paths": [str(tmp_path)]}, "what is empty is dropped anyway"
    assert len(corpus.sounding.samples) == 10


@pytest.mark.parametrize("suffixes", [[".jsonl"] * 6, [".jsonl.gz"] * 6, [".jsonl", ".jsonl.gz"] * 3])
def test_a_large_corpus_is_estimated_within_five_percent(suffixes: list[str], tmp_path: Path) -> None:
    counts = [4000, 100, 2000, 3000, 50, 6000]
    for seed, (count, suffix) in enumerate(zip(counts, suffixes, strict=True)):
        write(tmp_path / f"{seed}{suffix}", many(seed, count))
    (corpus,) = overview(str(tmp_path), most=1_000_000).corpora
    found = corpus.sounding.documents
    assert not found.exact
    assert found.looked_at_bytes <= 1_000_000 < corpus.bytes * (4 if suffixes[0] == ".jsonl.gz" else 1)
    assert found.count == pytest.approx(sum(counts), rel=0.05)
    assert found.bytes == pytest.approx(found.count * found.mean, rel=0.03)
    assert corpus.sounding.bad == (), "no row is cut in two"
    assert len({each.source for each in corpus.sounding.samples}) > 2


def test_a_compression_that_was_not_read_is_estimated_from_the_others(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", many(1, 10_000))
    write(tmp_path / "b.jsonl.gz", many(2, 300))
    found = overview(str(tmp_path), most=500_000)
    assert {each.source for each in found.corpora[0].sounding.samples} == {f"{tmp_path}/a.jsonl"}
    assert documents(found).count == pytest.approx(10_300, rel=0.02)


def test_plain_and_compressed_files_are_scaled_apart(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", many(1, 10_000))
    write(tmp_path / "b.jsonl.gz", ({"url": f"{n}", "body": f"{n} {SENTENCE}"} for n in range(20_000)))
    assert documents(overview(str(tmp_path), most=500_000)).count == pytest.approx(30_000, rel=0.05)


def test_a_look_twice_is_the_same(tmp_path: Path) -> None:
    for seed in range(3):
        write(tmp_path / f"{seed}.jsonl", many(seed, 1000))
    assert overview(str(tmp_path), most=100_000) == overview(str(tmp_path), most=100_000)


def test_no_file_is_digested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.jsonl", many(1, 10))
    monkeypatch.setattr(file_digests, "sha256_file", lambda _: pytest.fail("read the whole file"))
    monkeypatch.setattr("olmo_core.artifact.files.sha256_file", lambda _: pytest.fail("read the whole file"))
    assert documents(overview(str(tmp_path))).count == 10


def test_the_tag_of_a_look_changes_with_the_file(tmp_path: Path) -> None:
    import os

    path = tmp_path / "a.jsonl"
    write(path, many(1, 10))
    (before,) = list_files([str(path)], time_of_change)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert list_files([str(path)], time_of_change) != [before]


def test_bad_rows_are_counted_by_reason_with_places(tmp_path: Path) -> None:
    rows = many(1, 95)
    write(tmp_path / "a.jsonl", [*rows[:50], "{broken", *rows[50:], *([{"url": "x", "body": 5}] * 4)])
    (corpus,) = overview(str(tmp_path)).corpora
    number, broken = corpus.sounding.bad
    assert (number.reason, number.rows, number.share) == ("text of another type", 4, 0.04)
    assert number.places[0].startswith(f"{tmp_path}/a.jsonl, line 97: column 'body' is a number")
    assert (len(number.places), broken.reason) == (3, "not a JSON object")
    assert corpus.source["on_bad_row"] == "skip"
    assert broken.places[0].startswith(f"{tmp_path}/a.jsonl, line 51: ")


def test_a_damaged_file_is_a_bad_row_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl.gz", many(1, 1000))
    whole = (tmp_path / "a.jsonl.gz").read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "b.jsonl", many(2, 50))
    (corpus,) = overview(str(tmp_path)).corpora
    assert corpus.sounding.documents.looked_at >= 50
    (bad,) = corpus.sounding.bad
    assert (bad.reason, bad.rows) == ("damaged file", 1)
    assert bad.places[0].startswith(f"{tmp_path}/a.jsonl.gz: it is truncated or damaged")
    assert corpus.source["on_bad_row"] == "skip"


def test_deep_nesting_is_a_bad_row(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [*many(1, 5), '{"x":' + "[" * 100_000 + "]" * 100_000 + "}"])
    (corpus,) = overview(str(tmp_path)).corpora
    assert [(bad.reason, bad.rows) for bad in corpus.sounding.bad] == [("not a JSON object", 1)]


@pytest.mark.parametrize("given", ["", "/**", "/*", "/**/*.jsonl*"])
def test_paths_of_a_corpus_match_its_files_and_no_others(given: str, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", many(1, 5))
    write(tmp_path / "b.json.gz", many(2, 5))
    write(tmp_path / "a.jsonl.bak", many(2, 5))
    (tmp_path / "README").write_text("not data")
    found = overview(str(tmp_path) + given)
    (corpus,) = found.corpora
    expected = ["a.jsonl"] if given.endswith("jsonl*") else ["a.jsonl", "b.json.gz"]
    listed = list_files(corpus.paths, time_of_change)
    assert [Path(file.address).name for file in listed] == expected
    assert (found.files, corpus.files) == ({"/**/*.jsonl*": 2}.get(given, 4), len(expected))
    assert {each.format.suffix for each in found.formats if not each.format.reader} == (
        {".bak"} if given.endswith("jsonl*") else {"", ".bak"}
    )


def test_a_text_column_that_was_given_is_not_a_guess(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"text": "x" * 100, "meta": {"summary": f"short {n}"}} for n in range(5)])
    (corpus,) = overview(str(tmp_path), "meta.summary").corpora
    assert corpus.source["columns"] == {"text": "meta.summary"}
    assert not corpus.sounding.text_guessed
    assert corpus.sounding.samples[0].text == "short 0"


def test_languages_are_named(tmp_path: Path) -> None:
    german = "Der Ausschuss trifft sich am Montag, um den Haushalt der Stadt zu besprechen."
    english = "The committee will meet on Monday to discuss the budget of the city."
    write(tmp_path / "a.jsonl", [{"text": english}] + [{"text": f"{german} {n}"} for n in range(3)])
    (corpus,) = overview(str(tmp_path)).corpora
    assert list(corpus.sounding.languages.items()) == [("de", 0.75), ("en", 0.25)]


@pytest.mark.parametrize(
    ("name", "rows", "text", "message"),
    [
        ("a.bin", [{"text": "x"}], None, r"unknown format \(\.bin\); there are .*jsonl \(\.jsonl"),
        ("a.jsonl", [], None, "empty: 1 file of 0 bytes"),
        ("a.jsonl", ["", " "], None, "empty: no rows"),
        ("a.jsonl", [{"n": 1, "s": "x"}], None, r"no text column; .*--text; there are n \(integer\), s \(string\)"),
        ("a.jsonl", [{"text": "x"}], "txt", r"no text column txt; .*there are text \(string\)"),
        ("a.jsonl", ["[1]", "[2]"], None, "no document: .*a.jsonl, line 1: it is not a JSON object"),
        ("a.jsonl", [{"\x1b[1mn": 1}], None, r"there are \[1mn \(integer\)$"),
    ],
)
def test_what_is_no_corpus_is_refused(
    name: str, rows: list[dict[str, Any] | str], text: str | None, message: str, tmp_path: Path
) -> None:
    write(tmp_path / name, rows)
    with pytest.raises(OverviewError, match=message) as error:
        overview(str(tmp_path), text)
    assert str(error.value).isprintable()


def test_a_path_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ListingError, match=r"nothing\.jsonl"):
        overview(str(tmp_path / "nothing.jsonl"))


def test_a_reader_without_columns_is_read_with_its_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JsonlSource, "raw_rows", FileSource.raw_rows)
    write(tmp_path / "a.jsonl", [{"text": "x"}])
    (corpus,) = overview(str(tmp_path)).corpora
    assert (corpus.sounding.columns, corpus.sounding.text, corpus.sounding.documents.count) == ((), None, 1)
    assert corpus.source == {"reader": "jsonl", "paths": [str(tmp_path)]}
