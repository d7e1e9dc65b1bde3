"""The pieces that a look reads: all of a small corpus, evenly spread over a large one, never the same bytes twice."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from olmo_core.documents.listing import File
from olmo_core.documents.sources.jsonl import JsonlSource
from olmo_core.documents.spread import INFLATION, Thinned, spread

names = st.sampled_from([".jsonl", ".jsonl.gz"])
listings = st.lists(st.tuples(names, st.integers(0, 10_000)), min_size=1, max_size=30).map(
    lambda files: [File(f"/data/{n:03d}{suffix}", size, "t") for n, (suffix, size) in enumerate(files)]
)


def weight(address: str, size: int) -> int:
    return size * (INFLATION if address.endswith(".gz") else 1)


@given(listings, st.integers(100, 50_000))
def test_pieces_are_in_order_within_their_files_and_never_overlap(files: list[File], most: int) -> None:
    pieces = spread(files, most, JsonlSource.can_be_cut)
    sizes = {file.address: file.bytes for file in files}
    assert all(0 <= piece.start <= piece.end <= sizes[piece.address] == piece.bytes for piece in pieces)
    for piece, after in pairwise(pieces):
        assert (piece.address, piece.end) <= (after.address, after.start) or piece.address < after.address
    total = sum(weight(file.address, file.bytes) for file in files)
    read = sum(weight(piece.address, piece.end - piece.start) for piece in pieces)
    if total <= most:
        assert [(piece.address, piece.start, piece.end) for piece in pieces] == [(f.address, 0, f.bytes) for f in files]
    else:
        assert read <= most + 300, "one byte of rounding for each place"


def test_a_large_corpus_is_read_at_sixteen_places_over_all_of_it() -> None:
    files = [File(f"/data/{n}.jsonl", 10**10, "t") for n in range(8)]
    pieces = spread(files, 32_000_000, JsonlSource.can_be_cut)
    assert [piece.address for piece in pieces] == [file.address for file in files for _ in range(2)]
    assert {piece.end - piece.start for piece in pieces} == {2_000_000}
    assert [piece.start for piece in pieces[:2]] == [2_499_000_000, 7_499_000_000]


def test_small_files_get_more_places() -> None:
    files = [File(f"/data/{n:05d}.jsonl", 1000, "t") for n in range(10_000)]
    pieces = spread(files, 100_000, JsonlSource.can_be_cut)
    assert 50_000 <= sum(piece.end - piece.start for piece in pieces) <= 100_000
    assert pieces[-1].address > "/data/09800.jsonl"


def test_the_head_of_a_compressed_file_is_as_long_as_its_places_are_many() -> None:
    files = [File("/data/a.jsonl.gz", 10**9, "t"), File("/data/b.jsonl.gz", 10**9, "t")]
    (first, second) = spread(files, 32_000_000, JsonlSource.can_be_cut)
    assert (first.start, first.end, second.start, second.end) == (0, 4_000_000, 0, 4_000_000)


@given(st.integers(0, 500), st.integers(2, 40))
def test_thinned_keeps_evenly_spread_items_of_any_number(count: int, most: int) -> None:
    kept = Thinned[int](most)
    for item in range(count):
        kept.add(item)
    items = list(kept)
    assert min(count, most // 2) <= len(items) <= most
    gaps = {after - before for before, after in pairwise(items)}
    assert len(gaps) <= 1
    assert not gaps or count - 1 - items[-1] < gaps.pop(), "up to the end"
    assert items[:1] == ([0] if count else [])
    chosen = list(kept.evenly(10))
    assert len(chosen) == min(10, len(items)) == len(set(chosen))
    assert chosen == sorted(chosen)
