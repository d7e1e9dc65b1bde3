"""The order of tensors in a file, for every mix of types, against the safetensors library."""

import json
from itertools import pairwise, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from olmo_core.model.safetensors import ITEM_BYTES, header, parse, torch_type


def library(described: dict[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """The library's header of such tensors, in the form of `header`."""
    whole = save({name: torch.zeros(shape, dtype=torch_type(dtype)) for name, (dtype, shape) in described.items()})
    return whole[: 8 + int.from_bytes(whole[:8], "little")]


@pytest.mark.parametrize(("one", "other"), permutations(ITEM_BYTES, 2))
def test_types_are_ordered_as_the_library_orders_them(one: str, other: str) -> None:
    described = {"a": (one, (3,)), "b": (other, (3,))}
    assert header(described)[0] == library(described)


SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
NAMES = st.text('ab.\u00e4\u4e2d"\\ ', max_size=5)


@settings(max_examples=40)
@given(st.dictionaries(NAMES, st.tuples(st.sampled_from(sorted(ITEM_BYTES)), SHAPES), max_size=6))
def test_any_header_is_the_librarys_and_is_parsed_to_its_places(
    described: dict[str, tuple[str, tuple[int, ...]]],
) -> None:
    first, placed = header(described)
    assert first == library(described)
    assert parse(first[8:]) == placed
    assert {name: (each.dtype, each.shape) for name, each in placed.items()} == described
    spans = sorted((each.start, each.start + each.size) for each in placed.values())
    assert all(start == end for (_, end), (start, _) in pairwise(spans)), "no gaps, no overlaps"
    assert not spans or spans[0][0] == len(first)


def test_order_of_the_mapping_changes_no_byte() -> None:
    described = {"b": ("F32", (2,)), "a": ("I64", (1,)), "c": ("F32", (3,))}
    assert {header(dict(order))[0] for order in permutations(described.items())} == {header(described)[0]}


@pytest.mark.parametrize("length", range(1, 9))
def test_values_begin_at_a_multiple_of_8_bytes(length: int) -> None:
    first, _ = header({"n" * length: ("F16", (1,))})
    assert len(first) % 8 == 0
    assert int.from_bytes(first[:8], "little") == len(first) - 8
    assert json.loads(first[8:])["n" * length]["data_offsets"] == [0, 2]


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"a": {}}', b'{"a": {"dtype": "F32", "shape": [1]}}', b'{"a": 3}'])
def test_json_of_something_else_is_refused(text: bytes) -> None:
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
        parse(text)


def test_metadata_is_no_tensor() -> None:
    first, placed = header({"a": ("F32", (1,))}, {"format": "pt", "made by": "us"})
    assert json.loads(first[8:])["__metadata__"] == {"format": "pt", "made by": "us"}
    assert parse(first[8:]).keys() == placed.keys() == {"a"}


@pytest.mark.parametrize("name", ["U8", "BOOL", "F8_E4M3"])
def test_type_that_is_not_written_here_is_named(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        header({"a": (name, (1,))})
