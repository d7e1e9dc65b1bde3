import hashlib
import json
import math
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.artifact.identity import Step, UnstableValueError, canonical, unused

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
plain = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=8
)


@given(plain)
def test_canonical_text_parses_to_same_value(value: Any) -> None:
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(st.text(), plain, min_size=2, max_size=4))
def test_canonical_text_ignores_key_order(value: dict[str, Any]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@given(st.integers(min_value=-(2**60), max_value=2**60))
def test_equal_numbers_have_same_text(number: int) -> None:
    if float(number) == number:
        assert canonical(float(number)) == canonical(number)


@given(plain, plain)
def test_different_values_have_different_text(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) == _same(one, other)


def _same(one: Any, other: Any) -> bool:
    """Compare like JSON does: True is not 1, but 1.0 is 1."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


class _Colour(Enum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": {"b": [1, math.nan]}}, r"fields\.a\.b\[1\]"),
        ({"a": math.inf}, r"fields\.a"),
        ({"a": {1, 2}}, r"fields\.a is a set"),
        ({"a": Path("x")}, r"fields\.a is a PosixPath"),
        ({"a": b"x"}, r"fields\.a is a bytes"),
        ({"a": _Colour.RED}, r"fields\.a is a _Colour"),
        ({"a": {1: 2}}, r"fields\.a has the key 1"),
        ({"a": object()}, r"fields\.a is a object"),
    ],
)
def test_unstable_value_is_refused_with_its_path(value: Any, where: str) -> None:
    with pytest.raises(UnstableValueError, match=where):
        canonical(value, "fields")


def test_id_is_digest_of_canonical_payload() -> None:
    source = Step("package", "nltk", 2, {"sha256": "ab"})
    text = '{"fields":{"sha256":"ab"},"inputs":{},"kind":"package","version":2}'
    assert source.id == hashlib.sha256(text.encode()).hexdigest()
    step = Step("corpus", "wiki", 1, {"share": 0.5, "shards": 2.0}, {"package": source})
    text = f'{{"fields":{{"shards":2,"share":0.5}},"inputs":{{"package":"{source.id}"}},"kind":"corpus","version":1}}'
    assert step.id == hashlib.sha256(text.encode()).hexdigest()
    assert step.folder == f"corpus/wiki-{step.id[:12]}"


def test_only_declared_values_change_the_id() -> None:
    def step(**changes: Any) -> Step:
        source = Step("package", "p", 1, {"a": changes.pop("deep", 1)})
        values = {"kind": "corpus", "name": "n", "version": 1, "fields": {"x": [1, 2]}, "inputs": {"p": source}}
        return Step(**{**values, **changes})

    ids = [step(kind="tokens"), step(version=2), step(fields={"x": [2, 1]}), step(inputs={}), step(deep=2), step()]
    assert len({each.id for each in ids}) == len(ids)
    assert step(name="other", work=print).id == step().id


def test_closure_yields_inputs_first_and_once() -> None:
    a = Step("k", "a", 1)
    b = Step("k", "b", 2, inputs={"a": a})
    c = Step("k", "c", 3, inputs={"a": a})
    d = Step("k", "d", 4, inputs={"c": c, "b": b})
    assert [step.name for step in d.closure()] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("value", "expected"), [(None, True), (False, True), ((), True), (0, False), ("", False), (True, False)]
)
def test_unused_values_exclude_zero(value: object, expected: bool) -> None:
    assert unused(value) is expected
