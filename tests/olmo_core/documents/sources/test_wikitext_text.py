"""What running text survives the removal of wiki markup: templates that wrap text, links, sections, lists, prose."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.documents.sources.wikitext import plain_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("{{abbr|Mr|Mister}}", "Mr"),
        ("{{nowrap|a b}}", "a b"),
        ("{{small|{{nowrap|x}}}}", "x"),
        ("{{transl|ar|DIN|salam}}", "salam"),
        ("{{Lang|fr|bonjour}}", "bonjour"),
        ("{{ quote |text=hidden|shown}}", "shown"),
        ("{{blockquote|one\n\ntwo}}", "one\n\ntwo"),
        ("{{convert|5|km}} and {{convert|5}}", "5 km and"),
        ("a{{lang}}b", "ab"),
        ("a{{cite web|title=x}}b", "ab"),
        ("a{{#if:x|y}}b", "ab"),
        ("a{{one|{{two|[[c|d]]}}}}b", "ab"),
    ],
)
def test_template_is_its_text_or_nothing(markup: str, text: str) -> None:
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("[[page]]s", "pages"),
        ("[[page|]]", ""),
        ("[[page#part| the label ]]", "the label"),
        ("[[outer|[[inner]]]]", "inner"),
        ("[[Help me: I sink]]", "Help me: I sink"),
        ("[[w:page|label]][[:Category:Ideas]][[Image:x.png]][[simple:page]]", "label"),
        ("[//example.org label] [ftp://x y]", "label y"),
        ("http://example.org", "http://example.org"),
        ("a [sic] b", "a [sic] b"),
    ],
)
def test_link_is_its_label_unless_it_shows_no_text(markup: str, text: str) -> None:
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<!-- open to the end\nof the page", "a"),
        ("a<ref>b", "ab"),
        ("a<nowiki>b</nowiki><br/>c", "abc"),
        ("<gallery>\nx.png\n</gallery>a<REF name='x'>b</Ref>", "a"),
        ("&lt;b&gt;a&lt;/b&gt;", "a"),
        (":{|\n| cell\n|}\nafter", "after"),
        ("before\n{|\nnever closed", "before"),
        ("'''''bold italic''''' l'a", "bold italic l'a"),
        ("__NOTOC____TOC__a", "a"),
    ],
)
def test_tag_table_and_switch_are_removed(markup: str, text: str) -> None:
    assert plain_text(markup) == text


@pytest.mark.parametrize("formula", ["x_{1}", "[[a]]|''b''", "{{x}}", "\\left[ a \\right]", "a < b"])
def test_formula_is_kept_to_the_letter(formula: str) -> None:
    assert plain_text(f"a <math>{formula}</math> b") == f"a ${formula}$ b"
    assert plain_text(f"a <math display='block'> {formula}\n</math> b") == f"a ${formula}$ b"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("# one\n## two\n#: three", "- one\n- two\n-: three"),
        ("; term : meaning", "term: meaning"),
        (":: indented", "indented"),
        ("*#*deep", "- deep"),
        ("a * b # c", "a * b # c"),
    ],
)
def test_list_marks_at_the_start_of_a_line_become_dashes(markup: str, text: str) -> None:
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [("a , b .", "a, b."), ("a (; b)", "a (b)"), ("a ( \u2013 ) b", "a b"), ("a\u00a0\t b", "a b"), ("a ()()b", "ab")],
)
def test_gaps_that_markup_leaves_are_closed(markup: str, text: str) -> None:
    assert plain_text(markup) == text


@pytest.mark.parametrize("title", ["References", "see also", "'''Notes'''", "EXTERNAL LINKS", " Works cited "])
@pytest.mark.parametrize("level", [2, 3, 4])
def test_section_of_links_ends_at_a_heading_of_its_level(title: str, level: int) -> None:
    rule, below = "=" * level, "=" * (level + 1)
    markup = f"Lead.\n{rule}{title}{rule}\nhidden\n{below}Below{below}\nhidden\n{rule}Next{rule}\nshown"
    assert plain_text(markup) == "Lead.\n\nNext\n\nshown"


@pytest.mark.parametrize("title", ["Sources of law", "Noteworthy", "Reference", "Bibliography of Plato"])
def test_section_whose_title_only_resembles_one_of_links_is_kept(title: str) -> None:
    assert plain_text(f"=={title}==\ntext") == f"{title}\n\ntext"


def test_section_of_links_below_another_section_hides_no_later_one() -> None:
    markup = "==Life==\n===Notes===\nhidden\n====More====\nhidden\n===Death===\nshown\n==See also==\nhidden"
    assert plain_text(markup) == "Life\n\nDeath\n\nshown"


WORD = st.text("abcdefgh", min_size=1, max_size=6)
PARAGRAPH = st.lists(WORD, min_size=1, max_size=6).map(" ".join)


@settings(max_examples=25)
@given(st.lists(PARAGRAPH, min_size=1, max_size=4))
def test_prose_without_markup_is_unchanged(paragraphs: list[str]) -> None:
    assert plain_text("\n\n".join(paragraphs)) == "\n\n".join(paragraphs)


@settings(max_examples=25)
@given(PARAGRAPH, st.integers(1, 12), PARAGRAPH)
def test_templates_are_removed_at_any_depth(before: str, depth: int, after: str) -> None:
    nested = "{{box|name=" * depth + "CANARY" + "}}" * depth
    assert plain_text(f"{before}{nested} {after}") == f"{before} {after}"


@settings(max_examples=25)
@given(PARAGRAPH, st.integers(1, 8))
def test_label_of_a_link_survives_any_depth_of_shown_templates(label: str, depth: int) -> None:
    assert plain_text("{{nowrap|" * depth + f"[[page|{label}]]" + "}}" * depth) == label
