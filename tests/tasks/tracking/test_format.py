import json

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param, _validate_tag

from tasks.tracking.mlflow.format import KEY_LENGTH, PARAM_LENGTH, key, numbers, params, scores, truncate, unused

texts = st.text(max_size=300)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


def leaves(value):
    return sum(leaves(inner) for inner in value.values()) if isinstance(value, dict) else 1


def test_params_have_dotted_paths_and_json_lists():
    fields = {"model": {"d_model": 64, "heads": [1, 2]}, "kind": "bpe", "start": None}
    assert params(fields) == {"kind": "bpe", "model.d_model": "64", "model.heads": "[1, 2]", "start": "null"}


def test_numbers_have_slashed_paths_and_no_other_values():
    result = {"tokens": 12, "heldout": {"wiki": {"bits": 1.5}}, "dtype": "uint16", "exact": True, "list": [1]}
    assert numbers(result, "result/") == {"result/exact": 1.0, "result/heldout/wiki/bits": 1.5, "result/tokens": 12.0}


def test_colliding_keys_are_numbered():
    assert params({"a=b": 1, "a?b": 2}) == {"a_b": "1", "a_b_2": "2"}
    assert unused("x", {"x": 0, "x_2": 0}) == "x_3"


def test_long_value_is_truncated_with_a_note():
    value = params({"text": "x" * 7000})["text"]
    assert len(value) == PARAM_LENGTH and value.endswith("... (7000 characters)")
    assert truncate("x" * PARAM_LENGTH, PARAM_LENGTH) == "x" * PARAM_LENGTH


@given(texts)
def test_every_key_is_valid_in_mlflow(text):
    _validate_metric_name(key(text))
    assert len(key(text)) <= KEY_LENGTH


@given(st.dictionaries(texts, plain, max_size=4))
def test_every_value_is_valid_in_mlflow_and_kept(fields):
    found = params(fields)
    assert len(found) == sum(leaves(value) for value in fields.values())
    for name, value in found.items():
        _validate_param(name, value)
        _validate_tag(name, value)


def test_plain_keys_are_unchanged():
    for name in ("loss", "eval/arc_easy/bits_per_byte", "a.b-c d:e"):
        assert key(name) == name
    assert json.loads(params({"a": ["é"]})["a"]) == ["é"]


def test_source_without_documents_has_no_score() -> None:
    result = {
        "heldout": {"wiki": {"bits_per_byte": 1.5, "documents": 3}, "notes": {"documents": 0, "left_out": {}}},
        "tasks": {
            "arc_easy:rc_0shot": {"accuracy": 0.5, "primary": "accuracy", "documents": 2},
            "long:rc_0shot": {"primary": "accuracy", "documents": 0, "too_long": 9},
        },
    }
    assert scores(result) == {"heldout/bits_per_byte/wiki": 1.5, "tasks/accuracy/arc_easy:rc_0shot": 0.5}
