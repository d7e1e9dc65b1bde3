"""Dumps of Wikipedia: which pages are articles, and what is kept of an incomplete page."""

import bz2
from pathlib import Path

import pytest
from archives import write_tar
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.documents.document import Document
from olmo_core.documents.sources.archive import ArchiveError
from olmo_core.documents.sources.wikipedia import WikipediaSource

SOURCE = WikipediaSource(reader="wikipedia", package="p", member="*.bz2")
SCHEMA = "http://www.mediawiki.org/xml/export-{}/"


def page(number: int, title: str, text: str | None, namespace: int = 0, redirect: bool = False) -> str:
    to = '<redirect title="x" />' if redirect else ""
    revision = "" if text is None else f"<revision><id>{number + 1000}</id><text>{text}</text></revision>"
    return f"<page><title>{title}</title><ns>{namespace}</ns><id>{number}</id>{to}{revision}</page>"


def dump(*pages: str, version: str = "0.10") -> bytes:
    return bz2.compress(f'<mediawiki xmlns="{SCHEMA.format(version)}">{"".join(pages)}</mediawiki>'.encode())


def documents(folder: Path, **dumps: bytes) -> list[Document]:
    path = write_tar(folder / "p.tar.gz", {f"p/{name}.bz2": content for name, content in dumps.items()})
    return list(SOURCE.documents(path))


@pytest.mark.parametrize("version", ["0.3", "0.10", "0.11"])
def test_dump_of_any_schema_version_is_read(tmp_path: Path, version: str) -> None:
    found = documents(tmp_path, pages=dump(page(12, "Sun", "A star."), version=version))
    assert [(each.id, each.text) for each in found] == [("enwiki/12", "Sun\n\nA star.")]


def test_id_is_that_of_the_page_and_not_of_its_revision(tmp_path: Path) -> None:
    revision_first = (
        "<page><title>Sun</title><ns>0</ns><revision><id>99</id><text>A star.</text></revision><id>12</id></page>"
    )
    assert [each.id for each in documents(tmp_path, pages=dump(revision_first))] == ["enwiki/12"]


@pytest.mark.parametrize("text", ["", None])
def test_article_without_text_is_its_title(tmp_path: Path, text: str | None) -> None:
    assert [each.text for each in documents(tmp_path, pages=dump(page(1, "Empty", text)))] == ["Empty\n\n"]


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 10, 14]), st.booleans()), max_size=8))
def test_articles_are_the_pages_of_namespace_0_that_redirect_nowhere(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[tuple[int, bool]]
) -> None:
    pages = [page(n, f"T{n}", f"text {n}", namespace, redirect) for n, (namespace, redirect) in enumerate(kinds)]
    found = documents(tmp_path_factory.mktemp("dump"), pages=dump(*pages))
    articles = [n for n, (namespace, redirect) in enumerate(kinds) if namespace == 0 and not redirect]
    assert [(each.id, each.text) for each in found] == [(f"enwiki/{n}", f"T{n}\n\ntext {n}") for n in articles]


def test_markup_is_unescaped_once_by_the_dump_and_once_by_the_article(tmp_path: Path) -> None:
    found = documents(tmp_path, pages=dump(page(1, "A &amp; B", "''x'' &amp;amp; &lt;sub&gt;y&lt;/sub&gt;")))
    assert [each.text for each in found] == ["A & B\n\nx & y"]


def test_every_dump_that_the_pattern_matches_is_read_under_its_own_address(tmp_path: Path) -> None:
    found = documents(tmp_path, one=dump(page(1, "A", "a")), two=dump(page(2, "B", "b")))
    assert [(each.id, each.source) for each in found] == [
        ("enwiki/1", "p.tar.gz!p/one.bz2"),
        ("enwiki/2", "p.tar.gz!p/two.bz2"),
    ]


def test_damage_after_a_whole_article_is_reported(tmp_path: Path) -> None:
    broken = bz2.compress(f'<mediawiki xmlns="{SCHEMA.format("0.10")}">{page(1, "A", "a")}<page></oops>'.encode())
    path = write_tar(tmp_path / "p.tar.gz", {"p/pages.bz2": broken})
    with pytest.raises(ArchiveError, match=r"p\.tar\.gz: p/pages\.bz2 is not a bzip2 XML dump: mismatched tag"):
        list(SOURCE.documents(path))


def test_member_that_is_not_there_is_named_by_its_pattern(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "p.tar.gz", {"p/pages.xml": b"<mediawiki/>"})
    with pytest.raises(ArchiveError, match=r"no file that matches \['\*\.bz2'\]"):
        list(SOURCE.documents(path))
