import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.documents.digests import DIGEST, digest, digest_row, held_out, read_digests, repeated
from olmo_core.documents.document import Document


def rows_of(*documents: Document) -> np.ndarray:
    return np.frombuffer(b"".join(map(digest_row, documents)), dtype=DIGEST)


def test_digest_ignores_case_spacing_and_composition() -> None:
    assert digest("The  Cat\nsat") == digest("the cat sat") == hashlib.sha256(b"\nthe cat sat").digest()
    assert digest("caf\u00e9") == digest("cafe\u0301")
    assert digest("the cat sat", "salt") != digest("the cat sat")
    assert digest("the cat sat") != digest("the cat sits")


def test_digest_row_layout() -> None:
    """The format other readers rely on: the first 16 bytes of one sha256, the first 8 of another, big-endian."""
    alone, member = digest_row(Document("1", "The caf\u00e9")), digest_row(Document("2", "other", "The caf\u00e9"))
    text = hashlib.sha256("\nthe caf\u00e9".encode()).digest()
    place = hashlib.sha256("heldout\nthe caf\u00e9".encode()).digest()
    assert alone == text[:16] + place[:8][::-1] + (9).to_bytes(8, "little")
    assert member[16:24] == alone[16:24] and member[:16] != alone[:16]


def test_digests_are_mapped_and_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "digests.bin"
    path.write_bytes(b"")
    assert read_digests(path).shape == (0,)
    rows = digest_row(Document("1", "a")) + digest_row(Document("2", "b\u00e9"))
    path.write_bytes(rows)
    found = read_digests(path)
    assert isinstance(found, np.memmap) and found.tobytes() == rows
    assert found["bytes"].tolist() == [1, 3]
    path.write_bytes(rows[:-1])
    with pytest.raises(ValueError, match=r"digests\.bin has 63 bytes, not a multiple of 32"):
        read_digests(path)


half = st.integers(0, 2)  # few values, so that often only one half is equal


@given(st.lists(st.lists(st.tuples(half, half), max_size=9), min_size=1, max_size=4))
def test_repeated_marks_every_later_duplicate(shards: list[list[tuple[int, int]]]) -> None:
    arrays = [np.array([(high, low, 0, 0) for high, low in shard], dtype=DIGEST) for shard in shards]
    seen: set[tuple[int, int]] = set()
    expected = []
    for text in (text for shard in shards for text in shard):
        expected.append(text in seen)
        seen.add(text)
    assert repeated(arrays).tolist() == expected


def test_heldout_share_is_close_to_requested() -> None:
    places = rows_of(*(Document(str(i), f"text {i}") for i in range(5000)))["place"]
    for salt in (None, "x", "y"):
        # Binomial(5000, 0.1): mean 500, standard deviation 21.
        assert 410 < held_out(places, 0.1, salt).sum() < 590
    assert not held_out(places, 0.0).any()


def test_larger_share_contains_smaller_and_salts_are_independent() -> None:
    places = rows_of(*(Document(str(i), f"text {i}") for i in range(2000)))["place"]
    small, large = held_out(places, 0.1), held_out(places, 0.2)
    assert (large | ~small).all() and large.sum() > small.sum()
    salted = [held_out(places, 0.1, salt) for salt in ("x", "y", "")]
    for one, other in ((small, salted[0]), (*salted[:2],), (small, salted[2])):
        # Independent: 1% of 2000 are in both, standard deviation 4.
        assert (one & other).sum() < 40


@given(st.integers(0, 2**64 - 1), st.floats(0, 1, exclude_max=True))
def test_held_out_threshold_is_exact(place: int, share: float) -> None:
    assert held_out(np.array([place], dtype=np.uint64), share)[0] == (place < share * 2**64)


def test_salted_place_is_digest_of_salt_and_place() -> None:
    place = 2**63 + 12345
    salted = int.from_bytes(hashlib.sha256(b"s\n" + place.to_bytes(8, "little")).digest()[:8], "big") / 2**64
    for share, expected in ((salted + 1e-9, True), (salted - 1e-9, False)):
        assert held_out(np.array([place], dtype=np.uint64), share, "s")[0] == expected
