import gzip
import hashlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.documents.document import Document, DocumentWriter, digest, read_documents, sanitise

any_text = st.text(st.characters(exclude_categories=()))  # surrogates and controls included


@given(any_text)
def test_sanitised_text_can_be_encoded_and_is_left_alone_the_second_time(text: str) -> None:
    clean = sanitise(text)
    clean.encode("utf-8")
    assert sanitise(clean) == clean
    assert not any(ord(c) < 32 and c not in "\n\t" for c in clean)


def test_sanitise_shows_what_was_lost_and_keeps_what_is_text() -> None:
    assert sanitise("a\r\nb\rc\x00\ufeffd\tand\u00e9 \ud800!") == "a\nb\ncd\tand\u00e9 \ufffd!"


def test_a_page_break_joins_no_words() -> None:
    assert sanitise("one\x0ctwo\x85three\x0bfour\x1efive") == "one\ntwo\nthree\nfour\nfive"


def test_digest_is_that_of_the_text_as_a_reader_compares_it() -> None:
    assert digest("The  Cat\nsat") == digest("the cat sat") == hashlib.sha256(b"\nthe cat sat").digest()
    assert digest("caf\u00e9") == digest("cafe\u0301")
    assert digest("the cat sat", "salt") != digest("the cat sat")
    assert digest("the cat sat") != digest("the cat sits")


@given(st.lists(st.tuples(any_text.map(sanitise), any_text.map(sanitise)), max_size=5))
def test_documents_survive_the_file(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("documents") / "x.jsonl.gz"
    with DocumentWriter(path) as writer:
        for id_, text in rows:
            writer.write(Document(id_, text))
    assert [(d.id, d.text) for d in read_documents(path)] == rows
    assert (writer.documents, writer.bytes) == (len(rows), sum(len(text.encode()) for _, text in rows))


def test_the_file_does_not_depend_on_clock_or_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, now in (("a.gz", 1e9), ("b.gz", 2e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        with DocumentWriter(tmp_path / name) as writer:
            writer.write(Document("1", "text"))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize("line", ['{"id": "2"}', '{"id": "2", "text": null}', "{", '{"id":"2","text":"x","more":1}'])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl.gz"
    path.write_bytes(gzip.compress(f'{{"id": "1", "text": "fine"}}\n{line}\n'.encode()))
    with pytest.raises(ValueError, match=r"bad\.jsonl\.gz, line 2"):
        list(read_documents(path))
