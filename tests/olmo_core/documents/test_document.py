import gzip
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import any_text, marked

from olmo_core.documents.document import Document, DocumentWriter, clean, read_documents, sanitise

FULL = Document("1", "text", "g", "a.zip!b", {"b": 1, "a": None, "c": True}, {"pii": [(0, 2, "EMAIL"), (1, 4, 0.5)]})


@given(any_text)
def test_sanitise_is_encodable_and_idempotent(text: str) -> None:
    clean_text = sanitise(text)
    clean_text.encode("utf-8")
    assert sanitise(clean_text) == clean_text
    assert not any(ord(c) < 32 and c not in "\n\t" for c in clean_text)


def test_sanitise_marks_lost_characters_and_keeps_text() -> None:
    assert sanitise("a\r\nb\rc\x00\ufeffd\tand\u00e9 \ud800!") == "a\nb\ncd\tand\u00e9 \ufffd!"


def test_page_break_separates_words() -> None:
    assert sanitise("one\x0ctwo\x85three\x0bfour\x1efive") == "one\ntwo\nthree\nfour\nfive"


def test_spans_follow_their_characters_through_cleaning() -> None:
    text = " \r\n\x00Mail \x01me\r\nat a@b.c. \t"
    spans = {"word": [(text.index("me"), text.index("me") + 2, None)], "all": [(0, len(text), 0.5)]}
    spans["line"] = [(text.index("Mail"), text.index("\r\nat") + 1, "x")]  # ends between CR and LF, which become one
    spans["mail"] = [(text.index("a@"), text.index(". \t"), "EMAIL"), (0, 3, "blank"), (3, 4, "control")]
    found = clean(Document("1", text, spans=spans))
    shown = {name: [(found.text[start:end], value) for start, end, value in rows] for name, rows in found.spans.items()}
    assert found.text == "Mail me\nat a@b.c."
    assert shown == {
        "word": [("me", None)],
        "all": [(found.text, 0.5)],
        "line": [("Mail me\n", "x")],
        "mail": [("a@b.c", "EMAIL"), ("", "blank"), ("", "control")],
    }


@given(marked())
def test_cleaned_span_covers_sanitised_substring(document: Document) -> None:
    found = clean(document)
    for name, rows in document.spans.items():
        for (start, end, value), (new_start, new_end, same) in zip(rows, found.spans[name], strict=True):
            assert value is same
            covered = found.text[new_start:new_end]
            # A position between CR and LF counts both as before it.
            joined = (document.text[:start][-1:] + document.text[start:][:1]) == "\r\n"
            piece = document.text[start + joined : max(end, start + joined)]
            safe = sanitise(f"|{piece}|")[1:-1]
            assert covered == safe or covered in (safe.strip(), safe.lstrip(), safe.rstrip())


@pytest.mark.parametrize("span", [(-1, 2), (0, 5), (3, 2)])
def test_span_outside_text_is_refused(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"document d: span s is from {span[0]} to {span[1]}, its text has 4"):
        clean(Document("d", "text", spans={"s": [(*span, None)]}))


@pytest.mark.parametrize("field", [{"metadata": {"x": float("nan")}}, {"spans": {"x": [(0, 1, float("inf"))]}}])
def test_non_finite_number_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"document d: (metadata|span) x is (nan|inf), which JSON cannot express"):
        clean(Document("d", "text", **field))


@given(any_text, any_text)
def test_id_and_source_are_single_lines(name: str, source: str) -> None:
    found = clean(Document(name, "text", source=source))
    for given_, line in ((name, found.id), (source, found.source)):
        line.encode()
        assert line.splitlines() in ([line], [])
        assert line == given_ or not given_.isprintable()


@settings(deadline=None)
@given(st.lists(marked().map(clean), max_size=5))
def test_documents_round_trip_through_file(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> None:
    path = tmp_path_factory.mktemp("documents") / "x.jsonl.gz"
    with DocumentWriter(path) as writer:
        for document in documents:
            writer.write(document)
    assert list(read_documents(path)) == documents
    assert (writer.documents, writer.bytes) == (len(documents), sum(len(d.text.encode()) for d in documents))


def test_empty_fields_are_omitted(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    with DocumentWriter(path) as writer:
        writer.write(Document("0", ""))
        writer.write(FULL)
    assert gzip.decompress(path.read_bytes()).splitlines() == [
        b'{"id":"0","text":""}',
        b'{"id":"1","text":"text","group":"g","source":"a.zip!b","metadata":{"a":null,"b":1,"c":true},'
        b'"spans":{"pii":[[0,2,"EMAIL"],[1,4,0.5]]}}',
    ]


def test_bytes_ignore_clock_name_and_key_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = msgspec.structs.replace(FULL, metadata=dict(reversed(FULL.metadata.items())))
    for name, now, document in (("a.gz", 1e9, FULL), ("b.gz", 2e9, turned)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        with DocumentWriter(tmp_path / name) as writer:
            writer.write(document)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=30))
def test_only_requested_rows_are_read(tmp_path_factory: pytest.TempPathFactory, rows: list[bool]) -> None:
    path = tmp_path_factory.mktemp("documents") / "x.jsonl.gz"
    with DocumentWriter(path) as writer:
        for number in range(len(rows)):
            writer.write(Document(str(number), "text"))
    found = [int(document.id) for document in read_documents(path, np.array(rows, dtype=bool))]
    assert found == [number for number, wanted in enumerate(rows) if wanted]
    for other in ([*rows, False], rows[:-1]):
        if other != rows:
            with pytest.raises(ValueError, match=rf"x\.jsonl\.gz has {len(rows)} documents, expected {len(other)}"):
                list(read_documents(path, np.array(other, dtype=bool)))


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "2"}',
        '{"id": "2", "text": null}',
        "{",
        '{"id":"2","text":"x","more":1}',
        '{"id":"2","text":"x","metadata":{"a":[1]}}',
        '{"id":"2","text":"x","spans":{"a":[[0,1]]}}',
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl.gz"
    path.write_bytes(gzip.compress(f"{json.dumps({'id': '1', 'text': 'fine'})}\n{line}\n".encode()))
    with pytest.raises(ValueError, match=r"bad\.jsonl\.gz, line 2"):
        list(read_documents(path))
