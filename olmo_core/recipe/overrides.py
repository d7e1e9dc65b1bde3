"""Reads a YAML file and applies `--a.b=c` overrides to it, with errors that name the field and the remedy.

The fields are defined by the pydantic model that the caller passes.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from olmo_core.recipe.members import Members

Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 1 << 20  # a recipe is a page, not a data file; also limits what YAML aliases can expand to


class ConfigError(ValueError):
    """A recipe, profile or override that cannot be used; the message names file, field, value and remedy."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file of at most 1 MiB without aliases."""
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES} bytes; a recipe holds settings, not data")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: byte {error.start} ({error.object[error.start]:#04x}) is not UTF-8; save the file as UTF-8"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise ConfigError(f"{path}: YAML aliases are not supported; write the value out")
        value = _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: contains {type(value).__name__}, expected a mapping of fields")
    return value


class _Loader(yaml.SafeLoader):
    """Refuses a mapping with a duplicate key, of which YAML would silently keep the last value.

    Only `true` and `false` are booleans, as in YAML 1.2: `no` is the code of Norwegian.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.MarkedYAMLError(problem=f"{twice[0]} is given twice; keep one", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?i:true|false)$"), list("tTfF"))


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `values` with each override `--a.b=c` (leading dashes optional) applied; the value is read as YAML."""
    result: dict[str, Any] = _copy(values)
    for override in overrides:
        path, equals, text = override.lstrip("-").partition("=")
        if not equals or not path:
            raise ConfigError(f"override {override!r}: expected --field.subfield=value")
        try:
            value = _Loader(text).get_single_data()
        except yaml.YAMLError as error:
            raise ConfigError(f"override {override!r}: the value is not YAML; quote it") from error
        _put(result, path.split("."), value, override)
    return result


def overrides_of(words: Iterable[str]) -> list[str]:
    """Return the words of a command line as overrides `--a.b=value`; also accepts `--a.b value`.

    Raises:
        ConfigError: a word is not an override, or has no value.
    """
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("--"):
            raise ConfigError(f"argument {word!r}: expected an override of a recipe field, --a.b=value")
        if "=" not in word:
            value = next(rest, "--")
            if value.startswith("--"):
                raise ConfigError(f"argument {word!r}: expected a value after it, {word}=value")
            word = f"{word}={value}"
        overrides.append(word)
    return overrides


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with `above` merged over it: mappings field by field, everything else replaced."""
    merged: dict[str, Any] = _copy(dict(below))
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = _copy(value)
    return merged


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _put(target: Any, path: list[str], value: Any, override: str) -> None:
    key, rest = path[0], path[1:]
    if isinstance(target, list):
        if not key.isdigit() or int(key) >= len(target):
            raise ConfigError(f"override {override!r}: {key!r} is not an index of a list of {len(target)} items")
        index = int(key)
        if rest:
            _put(target[index], rest, value, override)
        else:
            target[index] = value
    elif isinstance(target, dict):
        if rest:
            _put(target.setdefault(key, {}), rest, value, override)
        else:
            target[key] = value
    else:
        raise ConfigError(f"override {override!r}: {key!r} is below a plain value; override that value itself")


def validate(model: type[Model], values: Mapping[str, Any], origin: str) -> Model:
    """Return `values` as `model`.

    Raises:
        ConfigError: one line per fault: origin, dotted field, value, what is wrong, and the nearest valid name.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [f"{origin}: {fault}" for fault in faults(model, error)]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


def faults(model: type[BaseModel], error: ValidationError, prefix: str = "") -> list[str]:
    """Return a line for every fault of the values for `model`: dotted field below `prefix`, value, and remedy."""
    return [_fault(model, dict(fault), prefix) for fault in error.errors()]


def _fault(model: type[BaseModel], fault: dict[str, Any], prefix: str) -> str:
    where, _ = _walk(model, fault["loc"])
    name = (prefix + ".".join(where)).removesuffix(".")
    value = fault.get("input")
    shown = "" if isinstance(value, dict | list) or value is None else f" (value {value!r})"
    if fault["type"] == "extra_forbidden":
        valid = sorted({field for each in _walk(model, fault["loc"][:-1])[1] for field in each.model_fields})
        near = difflib.get_close_matches(where[-1], valid, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"valid here: {', '.join(sorted(valid)) or 'nothing'}"
        return f"{name}{shown}: no such field; {hint}"
    if fault["type"] == "union_tag_invalid":
        field, given = fault["ctx"]["discriminator"].strip("'"), fault["ctx"]["tag"]
        kinds = [kind.strip(" '") for kind in fault["ctx"]["expected_tags"].split(",")]
        near = difflib.get_close_matches(given, kinds, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kinds)}"
        return f"{name}.{field} (value {given!r}): not known; {hint}"
    if fault["type"] == "missing":
        return f"{name}: required, and not given"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not name:
        return message
    return f"{name}{shown}: {message[0].lower()}{message[1:]}"


def _walk(model: type[BaseModel], place: Sequence[object]) -> tuple[list[str], list[type[BaseModel]]]:
    """Follow the location of a fault through containers and unions; return it as the user wrote it, and its models.

    pydantic inserts the chosen member of a union like a field, which the user did not write.
    """
    models: list[type[BaseModel]] = [model]
    written: list[str] = []
    discriminator: str | None = None
    members: Mapping[str, type[BaseModel]] = {}
    for part in place:
        if discriminator is not None:
            models = [each for each in models if part in get_args(each.model_fields[discriminator].annotation)]
            discriminator = None
        elif str(part) in members:
            models, members = [members[str(part)]], {}
        elif not str(part).startswith(("function-", "tagged-")):
            written.append(str(part))
            infos = [each.model_fields[str(part)] for each in models if str(part) in each.model_fields]
            # A key of a mapping or an index of a list is not a field: the models stay the same.
            models = [each for info in infos for each in _models_in(info.annotation)] or models
            members = next((_members_in(info.annotation) for info in infos), members)
            discriminator = next((info.discriminator for info in infos if isinstance(info.discriminator, str)), None)
    return written, models


def _members_in(annotation: Any) -> Mapping[str, type[BaseModel]]:
    """Return the members of the union in an annotation that says so by `Members`, by their tags."""
    if isinstance(annotation, Members):
        return annotation.models
    return {tag: model for argument in get_args(annotation) for tag, model in _members_in(argument).items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def is_path(name: str) -> bool:
    """Return whether a recipe or profile is given as a path; a built-in is given as a word."""
    return name.endswith((".yaml", ".yml")) or "/" in name


def find_yaml(name: str, folder: Path, noun: str, beside: Path = Path()) -> Path:
    """Return the file of a built-in by its name, or, if `name` is a path, that path relative to `beside`.

    Raises:
        ConfigError: the file does not exist; names the nearest built-in.
    """
    if is_path(name):
        path = beside / Path(name).expanduser()
        if path.is_file():
            return path
        raise ConfigError(f"{noun} {name}: no such file")
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(each.stem for each in folder.glob("*.yaml"))
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"built in are {', '.join(known)}"
        raise ConfigError(f"{noun} {name!r}: not known; {hint}, or give the path of a YAML file")
    return path
