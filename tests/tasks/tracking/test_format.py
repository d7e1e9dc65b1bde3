import json

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param, _validate_tag

from tasks.tracking.mlflow.format import KEY_LENGTH, PARAM_LENGTH, cut, key, numbers, params, unused

texts = st.text(max_size=300)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


def leaves(value):
    return sum(leaves(inner) for inner in value.values()) if isinstance(value, dict) else 1


def test_params_are_dotted_paths_and_lists_are_json():
    fields = {"model": {"d_model": 64, "heads": [1, 2]}, "kind": "bpe", "start": None}
    assert params(fields) == {"kind": "bpe", "model.d_model": "64", "model.heads": "[1, 2]", "start": "null"}


def test_numbers_are_paths_with_slashes_and_nothing_else():
    result = {"tokens": 12, "heldout": {"wiki": {"bits": 1.5}}, "dtype": "uint16", "exact": True, "list": [1]}
    assert numbers(result, "result/") == {"result/exact": 1.0, "result/heldout/wiki/bits": 1.5, "result/tokens": 12.0}


def test_keys_that_become_the_same_stay_apart():
    assert params({"a=b": 1, "a?b": 2}) == {"a_b": "1", "a_b_2": "2"}
    assert unused("x", {"x": 0, "x_2": 0}) == "x_3"


def test_a_long_value_is_cut_and_says_so():
    value = params({"text": "x" * 7000})["text"]
    assert len(value) == PARAM_LENGTH and value.endswith("... (7000 characters)")
    assert cut("x" * PARAM_LENGTH, PARAM_LENGTH) == "x" * PARAM_LENGTH


@given(texts)
def test_mlflow_takes_every_key(text):
    _validate_metric_name(key(text))
    assert len(key(text)) <= KEY_LENGTH


@given(st.dictionaries(texts, plain, max_size=4))
def test_mlflow_takes_every_value_and_none_is_dropped(fields):
    found = params(fields)
    assert len(found) == sum(leaves(value) for value in fields.values())
    for name, value in found.items():
        _validate_param(name, value)
        _validate_tag(name, value)


def test_keys_without_odd_characters_stay_as_they_are():
    for name in ("loss", "eval/arc_easy/bits_per_byte", "a.b-c d:e"):
        assert key(name) == name
    assert json.loads(params({"a": ["é"]})["a"]) == ["é"]
