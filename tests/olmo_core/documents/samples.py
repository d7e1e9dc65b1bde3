"""Hypothesis strategies for documents with all fields set; few different texts, so that equal ones are frequent."""

from hypothesis import strategies as st

from olmo_core.documents.document import Document

any_text = st.text(st.characters(exclude_categories=()))  # surrogates and controls included
values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
metadata = st.dictionaries(st.text(), values, max_size=3)


@st.composite
def marked(draw: st.DrawFn, texts: st.SearchStrategy[str] = any_text) -> Document:
    """Draw a document with spans within its text."""
    text = draw(texts)
    place = st.integers(0, len(text))
    span = st.tuples(place, place, values).map(lambda span: (*sorted(span[:2]), span[2]))
    spans = draw(st.dictionaries(st.text(), st.lists(span, min_size=1, max_size=3), max_size=2))
    return Document(draw(any_text), text, draw(st.text()), draw(any_text), draw(metadata), spans)


# Equal and similar texts, some too short, some empty after cleaning; several share a group.
plain_texts = st.sampled_from(
    ["", "\x00", "a", "A", " a\t", "one two", "One  TWO", "caf\u00e9", "cafe\u0301", *"bcdefgh"]
)
few_documents = st.lists(
    st.builds(Document, st.uuids().map(str), plain_texts, st.sampled_from(["", "", "", "x", "y"])), max_size=24
)
