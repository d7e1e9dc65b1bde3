"""Reading YAML, applying overrides, and the errors of wrong fields."""

import copy
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from olmo_core.recipe.overrides import (
    MAX_BYTES,
    ConfigError,
    apply_overrides,
    find_yaml,
    overrides_of,
    read_yaml,
    validate,
)

VALUES = {"name": "x", "stages": {"one": {"tokens": 5, "seeds": [1, 2]}}, "list": [{"a": 1}, {"a": 2}]}

keys = st.text("abcdefghij_", min_size=1, max_size=6)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc xyz:#-[]{}\"'", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


class Leaf(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = Field(gt=0)
    shape: str = "round"


class Needle(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["needle"] = "needle"
    length: int = 1


class Scale(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["scale"] = "scale"
    breadth: int = 1


class Tree(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bark: Annotated[Needle | Scale, Field(discriminator="kind")] = Needle()

    leaves: dict[str, Leaf] = {}
    rows: tuple[Leaf, ...] = ()
    one: Leaf | None = None


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("--stages.one.tokens=2e6", ("stages", "one", "tokens"), "2e6"),  # a count; read as one by its field
        ("stages.one.tokens=7", ("stages", "one", "tokens"), 7),
        ("--stages.one.seeds=[4, 5, 6]", ("stages", "one", "seeds"), [4, 5, 6]),
        ("--stages.one.seeds.1=9", ("stages", "one", "seeds"), [1, 9]),
        ("--list.0.a=null", ("list", 0, "a"), None),
        ("--stages.two.tokens=1", ("stages", "two"), {"tokens": 1}),
        ("--name=a=b", ("name",), "a=b"),
        ("--name=", ("name",), None),
        ("--stages.one={tokens: 3}", ("stages", "one"), {"tokens": 3}),
    ],
)
def test_override_sets_one_field(override: str, path: tuple[Any, ...], value: object) -> None:
    found: Any = apply_overrides(VALUES, [override])
    for key in path:
        found = found[key]
    assert found == value


def test_value_may_follow_its_field() -> None:
    assert overrides_of(["--a.b=c", "--a.d", "-1", "--e", "[1, 2]"]) == ["--a.b=c", "--a.d=-1", "--e=[1, 2]"]
    for words, message in (
        (["a.b"], "argument 'a.b': expected an override of a recipe field"),
        (["--a"], "argument '--a': expected a value after it, --a=value"),
        (["--a", "--b=1"], "argument '--a': expected a value after it"),
    ):
        with pytest.raises(ConfigError, match=message):
            overrides_of(words)


def test_last_override_wins() -> None:
    assert apply_overrides(VALUES, ["--name=first", "--name=second"])["name"] == "second"


@given(st.dictionaries(keys, plain, max_size=4), keys, plain)
def test_override_changes_only_its_field(values: dict[str, Any], key: str, value: Any) -> None:
    before = copy.deepcopy(values)
    after = apply_overrides(values, [f"--{key}={json.dumps(value)}"])
    assert after == {**before, key: value}
    assert values == before, "the given values are unchanged"


def test_input_values_are_not_modified() -> None:
    before = copy.deepcopy(VALUES)
    apply_overrides(VALUES, ["--stages.one.tokens=9", "--list.1.a=9", "--stages.one.seeds.0=9"])
    assert before == VALUES


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--name", "expected --field.subfield=value"),
        ("--=3", "expected --field.subfield=value"),
        ("--list.2.a=3", "'2' is not an index of a list of 2 items"),
        ("--list.first.a=3", "'first' is not an index of a list"),
        ("--name.first=3", "'first' is below a plain value"),
        ("--name=[1", "not YAML"),
    ],
)
def test_invalid_override_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        apply_overrides(VALUES, [override])
    assert message in str(error.value)
    assert repr(override) in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n- 2\n", "contains list, expected a mapping"),
        ("", "contains NoneType, expected a mapping"),
        ("a: [1", "not YAML"),
        ("a: &x [1]\nb: *x\n", "aliases are not supported"),
        ("a: !!python/object/apply:os.getcwd []\n", "not YAML"),
        ("a: " + "x" * MAX_BYTES, "larger than"),
        ("seeds: [1]\nseeds: [2]\n", "seeds"),
    ],
)
def test_file_without_mapping_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_yaml(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_file_not_utf8_is_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("a: caf\u00e9\n", encoding=encoding)
    with pytest.raises(ConfigError, match=r"recipe\.yaml: byte (6 \(0xe9\)|0 \(0xff\)) is not UTF-8; save the file as"):
        read_yaml(path)


def test_only_true_and_false_are_booleans(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("a: [no, on, y, true, False]\n")
    assert read_yaml(path)["a"] == apply_overrides({}, ["--a=[no, on, y, true, False]"])["a"]
    assert read_yaml(path)["a"] == ["no", "on", "y", True, False]


def test_ampersand_in_text_is_not_an_alias(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text('a: "this & that, *all* of it"\n')
    assert read_yaml(path) == {"a": "this & that, *all* of it"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"leafs": {}}, "here: leafs: no such field; did you mean 'leaves'?"),
        ({"one": {"widht": 2, "width": 1}}, "here: one.widht (value 2): no such field; did you mean 'width'?"),
        ({"leaves": {"a": {"width": 1, "form": "x"}}}, "here: leaves.a.form (value 'x'): no such field; valid here: "),
        ({"rows": [{"width": 1}, {"width": 0}]}, "here: rows.1.width (value 0): input should be greater than 0"),
        ({"leaves": {"a": {}}}, "here: leaves.a.width: required, and not given"),
    ],
)
def test_fault_names_origin_field_value_and_remedy(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        validate(Tree, values, "here")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value), "one fault, one line"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"bark": {"kind": "scale", "bredth": 2}},
            "tree: bark.bredth (value 2): no such field; did you mean 'breadth'",
        ),
        (
            {"bark": {"kind": "scale", "length": 2}},
            "tree: bark.length (value 2): no such field; valid here: breadth",
        ),
        ({"bark": {"kind": "needle", "length": "x"}}, "tree: bark.length (value 'x'): input should be a valid integer"),
        ({"bark": {"kind": "scal"}}, "tree: bark.kind (value 'scal'): not known; did you mean 'scale'?"),
        ({"bark": {"kind": "moss"}}, "tree: bark.kind (value 'moss'): not known; there are needle, scale"),
    ],
)
def test_fault_in_union_has_path_as_written(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        validate(Tree, values, "tree")
    assert str(error.value).startswith(message)


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        validate(Tree, {"one": {"width": 0}, "branches": 1}, "here")
    assert sorted(line.split(":")[1].split()[0] for line in str(error.value).splitlines()) == ["branches", "one.width"]


def test_find_yaml_by_name_or_path(tmp_path: Path) -> None:
    for name in ("tiny", "micro"):
        (tmp_path / f"{name}.yaml").touch()
    assert find_yaml("tiny", tmp_path, "recipe") == tmp_path / "tiny.yaml"
    assert find_yaml(str(tmp_path / "micro.yaml"), tmp_path, "recipe") == tmp_path / "micro.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tinny", "recipe 'tinny': not known; did you mean 'tiny'?"),
        ("huge", "recipe 'huge': not known; built in are micro, tiny"),
        ("gone.yaml", "recipe gone.yaml: no such file"),
    ],
)
def test_unknown_name_suggests_nearest(tmp_path: Path, name: str, message: str) -> None:
    for known in ("tiny", "micro"):
        (tmp_path / f"{known}.yaml").touch()
    with pytest.raises(ConfigError) as error:
        find_yaml(name, tmp_path, "recipe")
    assert str(error.value).startswith(message)
