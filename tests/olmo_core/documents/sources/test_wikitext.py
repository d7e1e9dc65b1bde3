import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from olmo_core.documents.sources.wikitext import plain_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("'''Anarchism''' is ''a'' [[political philosophy]].", "Anarchism is a political philosophy."),
        ("[[stateless society|stateless societies]]", "stateless societies"),
        ("seen <!-- hidden\nover lines --> here", "seen here"),
        ("cited<ref name=x>{{cite book |title=[[T]]}}</ref> twice<ref name=x />.", "cited twice."),
        ("a {{infobox |name={{lower|{{deep}}}} |x=1}}b", "a b"),
        ("the term {{lang|grc|\u1f00\u03bd\u03b1}} means", "the term \u1f00\u03bd\u03b1 means"),
        ("about {{convert|1500|km|mi}} south", "about 1500 km south"),
        ("[[File:A.jpg|thumb|A [[linked|caption]] with {{small|x}}]]Text", "Text"),
        ("[[Category:Ideas]][[fr:Id\u00e9e]]Text", "Text"),
        ("{{quote|as [[a|b]] said}}", "as b said"),
        ("[http://example.org/x the label] and [http://example.org/y]", "the label and"),
        ("{| class=x\n|-\n| cell\n{|\n| nested\n|}\n|}\nafter", "after"),
        ("<math>\\frac{a}{{b}}</math>", "$\\frac{a}{{b}}$"),
        ("Name ({{IPA|x}}; {{pron}}) is", "Name is"),
        ("Name ({{IPA|x}}, born 1900) is", "Name (born 1900) is"),
        ("* one\n** two\n:indented", "- one\n- two\nindented"),
        ("H<sub>2</sub>O &amp; more&nbsp;text", "H2O & more text"),
        ("__NOTOC__\nText", "Text"),
        ("stray ]] and }} and {{ and [[ end", "stray and and and end"),
    ],
)
def test_markup_becomes_visible_text(markup: str, text: str) -> None:
    assert plain_text(markup) == text


def test_closing_sections_are_dropped_with_subsections() -> None:
    article = (
        "Lead.\n==History==\nOld.\n===Early===\nOlder.\n==See also==\n* [[X]]\n===Deep===\nhidden\n==Legacy==\nNew."
    )
    assert plain_text(article) == "Lead.\n\nHistory\n\nOld.\n\nEarly\n\nOlder.\n\nLegacy\n\nNew."


@example("{[[{")
@example("{<b>{")
@example("[''[")
@example("[()[")
@given(st.text(alphabet="ab {}[]()|'=\n<>*$&;:ref/", max_size=80))
def test_no_markers_remain(markup: str) -> None:
    text = plain_text(markup)
    for marker in ("{{", "}}", "[[", "]]"):
        assert marker not in text
