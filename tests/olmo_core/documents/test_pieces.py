import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from olmo_core.documents.listing import File
from olmo_core.documents.pieces import Piece, by_address, pieces_of, shards_of_files

sizes = st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=12)


def files_of(sizes: list[tuple[int, bool]]) -> list[File]:
    names = (f"/data/{number:02d}{'' if cut else '.gz'}" for number, (_, cut) in enumerate(sizes))
    return [File(name, size, f"tag {name}") for name, (size, _) in zip(names, sizes, strict=True)]


def can_be_cut(name: str) -> bool:
    return not name.endswith(".gz")


@given(sizes, st.integers(1, 40))
def test_every_byte_is_in_one_piece_and_the_order_is_kept(sizes: list[tuple[int, bool]], shard_bytes: int) -> None:
    files = files_of(sizes)
    pieces = [piece for shard in shards_of_files(files, shard_bytes, can_be_cut) for piece in shard]
    for file in files:
        own = [piece for piece in pieces if piece.address == file.address]
        assert {(piece.bytes, piece.tag) for piece in own} == {(file.bytes, file.tag)}
        assert own[0].start == 0 and own[-1].end == file.bytes
        assert all(first.end == second.start for first, second in pairwise(own))
        assert all(piece.start < piece.end for piece in own) or (file.bytes == 0 and len(own) == 1)
    assert [(piece.address, piece.start) for piece in pieces] == sorted(
        (piece.address, piece.start) for piece in pieces
    )


@given(sizes, st.integers(1, 40))
def test_shard_is_too_large_only_for_a_file_that_cannot_be_cut(sizes: list[tuple[int, bool]], shard_bytes: int) -> None:
    for shard in shards_of_files(files_of(sizes), shard_bytes, can_be_cut):
        total = sum(piece.end - piece.start for piece in shard)
        large = [piece for piece in shard if piece.end - piece.start > shard_bytes]
        assert total <= shard_bytes or (
            len(large) == 1 and total == large[0].bytes and not can_be_cut(large[0].address)
        )
        assert len({piece.address for piece in shard}) == len(shard) > 0


@given(sizes, st.integers(1, 40))
def test_pieces_survive_the_fields_of_a_step(sizes: list[tuple[int, bool]], shard_bytes: int) -> None:
    for shard in shards_of_files(files_of(sizes), shard_bytes, can_be_cut):
        assert pieces_of(json.loads(json.dumps(by_address(shard)))) == list(shard)


def test_small_files_share_a_shard_and_a_large_one_is_cut_evenly() -> None:
    files = [File("a", 3, "x"), File("b", 4, "y"), File("c", 25, "z"), File("d", 1, "w")]
    shards = shards_of_files(files, 10, can_be_cut)
    assert [[(piece.address, piece.start, piece.end) for piece in shard] for shard in shards] == [
        [("a", 0, 3), ("b", 0, 4)],
        [("c", 0, 8)],
        [("c", 8, 16)],
        [("c", 16, 25), ("d", 0, 1)],
    ]
    assert shards[0][1] == Piece("b", 4, "y", 0, 4)


def test_file_that_cannot_be_cut_has_a_shard_of_its_own_if_it_is_large() -> None:
    files = [File("a", 3, "x"), File("b.gz", 40, "y"), File("c", 3, "z")]
    shards = shards_of_files(files, 10, can_be_cut)
    assert [[piece.address for piece in shard] for shard in shards] == [["a"], ["b.gz"], ["c"]]
