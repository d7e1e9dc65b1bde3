"""Markup of reStructuredText one construct at a time: what a reader of the built page sees, and what not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.documents.sources.restructured import plain_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (":ref:`!plain`", "plain"),
        (":meth:`~django.db.models.Model.save`", "save"),
        (":meth:`Model.save`", "Model.save"),
        (":py:class:`a.B`", "a.B"),
        (":ref:`the title <label>`", "the title"),
        (":doc:`the long\ntitle <page>`", "the long\ntitle"),
        ("see `Python`_ and `other`__", "see Python and other"),
        ("`text <http://x>`__", "text"),
        ("``a*b*c`` and ``**options``", "a*b*c and **options"),
        ("*args and **options", "*args and **options"),
        ("2*3*4, a*b", "2*3*4, a*b"),
        ("an *easy word*, a **bold word**", "an easy word, a bold word"),
        ("|version| stays", "|version| stays"),
    ],
)
def test_inline_markup_becomes_its_text(markup: str, text: str) -> None:
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    "line", ["=====", "-----", "~~~~~", "^^^^", "'''", '"""', "...", "+---+-----+", "=====  ====="]
)
def test_lines_of_rules_are_removed(line: str) -> None:
    assert plain_text(f"Title\n{line}\ntext") == "Title\ntext"


@pytest.mark.parametrize("line", ["a = b", "--option", "- item", "== x ==", ":Author: me", "a...", "x -- y"])
def test_lines_with_words_are_no_rules(line: str) -> None:
    assert plain_text(f"Title\n{line}\ntext") == f"Title\n{line}\ntext"


@pytest.mark.parametrize(
    "block",
    [
        ".. a comment",
        "..\n   a comment of its own",
        ".. a comment\n\n   that goes on after a blank line",
        ".. _target:",
        ".. _target: https://example.org",
        ".. |name| replace:: something",
        ".. [1] a footnote\n   of two lines",
        ".. image:: picture.png\n   :alt: not shown",
        ".. toctree::\n   :maxdepth: 2\n\n   one\n   two",
        ".. index::\n   single: word",
        ".. only:: html\n\n   for the web",
        ".. unknown-directive:: argument\n\n   body",
    ],
)
def test_block_for_the_builder_is_removed_with_its_body(block: str) -> None:
    assert plain_text(f"before\n\n{block}\n\nafter") == "before\n\nafter"
    inside = "\n".join(f"   {line}" for line in block.splitlines())
    assert plain_text(f".. note::\n\n   before\n\n{inside}\n\n   after") == "before\n\n   after"


def test_text_at_the_indent_of_a_hidden_block_is_shown_again() -> None:
    assert plain_text(".. a comment\nshown at once") == "shown at once"
    assert plain_text(".. image:: a.png\n   hidden\n hidden too\nshown\n   shown too") == "shown\n   shown too"


def test_hidden_block_within_a_hidden_block_does_not_end_it() -> None:
    assert plain_text(".. only:: html\n\n   .. note::\n\n      hidden\n\n   hidden\n\nshown") == "shown"


@pytest.mark.parametrize("name", ["code", "code-block", "console", "highlight", "sourcecode"])
def test_language_of_an_example_is_not_text(name: str) -> None:
    assert plain_text(f"Run:\n\n.. {name}:: python\n   :linenos:\n\n   x = 1") == "Run:\n\n   x = 1"


@pytest.mark.parametrize("name", ["note", "versionadded", "method", "option", "rst:role", "py:function", "math"])
def test_argument_of_a_shown_directive_is_text(name: str) -> None:
    assert plain_text(f".. {name}:: the argument\n   :noindex:\n   :type: x\n\n   The body.") == (
        "the argument\n\n   The body."
    )


def test_argument_keeps_the_indent_of_its_directive() -> None:
    markup = ".. class:: Page\n\n   A page.\n\n   .. method:: save()\n\n      Saves."
    assert plain_text(markup) == "Page\n\n   A page.\n\n   save()\n\n      Saves."


def test_field_list_after_the_options_is_text() -> None:
    assert plain_text(".. note::\n   :class: wide\n\n   :Author: me") == ":Author: me"


@pytest.mark.parametrize("end", ["Text::", "Text ::"])
def test_double_colon_before_an_example_becomes_one(end: str) -> None:
    assert plain_text(f"{end}\n\n    code") == "Text:\n\n    code"


def test_blank_lines_are_one_at_most() -> None:
    assert plain_text("\n\na\n\n\n \n\nb\n\n") == "a\n\nb"


WORDS = st.text("abcdefg", min_size=1, max_size=6)
PARAGRAPHS = st.lists(st.lists(WORDS, min_size=1, max_size=6).map(" ".join), min_size=1, max_size=4)


@settings(max_examples=25)
@given(PARAGRAPHS)
def test_prose_without_markup_is_unchanged(paragraphs: list[str]) -> None:
    assert plain_text("\n\n".join(paragraphs)) == "\n\n".join(paragraphs)


@settings(max_examples=25)
@given(PARAGRAPHS, PARAGRAPHS, st.integers(0, 6), st.sampled_from(["a comment", "image:: x.png", "|a| replace:: b"]))
def test_nothing_of_a_hidden_body_is_seen(shown: list[str], hidden: list[str], indent: int, head: str) -> None:
    space = " " * indent
    body = [f"{space}   CANARY {line}" for line in hidden]
    markup = "\n\n".join([*shown, f"{space}.. {head}", *body, f"{space}last"])
    found = plain_text(markup)
    assert "CANARY" not in found
    assert found.split() == [*" ".join(shown).split(), "last"]
