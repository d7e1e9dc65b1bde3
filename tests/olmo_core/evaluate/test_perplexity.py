import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.documents.document import Document
from olmo_core.evaluate.perplexity import bits, select, windows


@given(st.lists(st.integers(2, 99), max_size=200), st.integers(1, 50))
def test_windows_score_every_token_once(tokens: list[int], length: int) -> None:
    requests = windows(tokens, 0, length)
    assert [token for _, window in requests for token in window] == tokens
    assert all(1 <= len(window) <= length for _, window in requests)
    assert [list(context) for context, _ in requests] == [
        [0, *tokens][start : start + 1] for start in range(0, len(tokens), length)
    ]


DOCUMENTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=30).map(
    lambda texts: [Document(str(number), text) for number, text in enumerate(texts)]
)
LIMIT = st.one_of(st.none(), st.integers(1, 300))


@given(DOCUMENTS, LIMIT, LIMIT)
def test_selection_obeys_limits_and_counts_omissions(
    documents: list[Document], source_bytes: int | None, document_bytes: int | None
) -> None:
    selection = select(documents, source_bytes, document_bytes)
    kept = {document.id: document for document in selection.documents}
    total = sum(document.bytes for document in selection.documents)
    assert len(kept) + selection.left_out_documents == len(documents)
    assert total + selection.left_out_bytes == sum(document.bytes for document in documents)
    assert source_bytes is None or total <= source_bytes or len(kept) <= 2
    widest = 4  # most bytes of a character; a smaller limit may cut a document to nothing
    if (document_bytes or widest) >= widest:
        assert len(kept) >= min(2, sum(bool(document.text) for document in documents))
    assert [int(name) for name in kept] == sorted(int(name) for name in kept)
    for document in documents:
        if document.id in kept:
            assert kept[document.id].text
            assert document.text.startswith(kept[document.id].text)
            assert (
                document_bytes is None
                or document_bytes - 4 < kept[document.id].bytes <= document_bytes
                or (kept[document.id] == document)
            )
    if source_bytes is None and document_bytes is None:
        assert selection.documents == [document for document in documents if document.text]


def test_larger_limit_keeps_smaller_selection() -> None:
    documents = [Document(f"d{number}", "x" * (number % 7 + 1)) for number in range(50)]
    small, large = ({each.id for each in select(documents, limit, None).documents} for limit in (40, 90))
    assert small < large
    # Drawn by hash: not simply the first ones.
    assert small != {each.id for each in documents[: len(small)]}


def test_coin_toss_has_one_bit() -> None:
    assert bits(math.log(0.5)) == pytest.approx(1.0)
