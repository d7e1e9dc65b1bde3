"""Revisions as versions of a registered model: one for each commit, with the revision's name as alias."""

import json
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_model_alias_name

from tasks.tracking.mlflow.models import COMMIT, REVISION, Registry

REPO = "org/olmo-tiny"


class Registered:
    """The registry of a tracking server in memory."""

    def __init__(self) -> None:
        self.descriptions: dict[str, str] = {}
        self.versions: list[Any] = []
        self.aliases: dict[str, str] = {}
        self.model_tags: dict[str, dict[str, str]] = {}

    def search_registered_models(self, wanted: str) -> list[str]:
        (name,) = re.findall(r"^name = '([^']*)'$", wanted)
        return [name] if name in self.descriptions else []

    def create_registered_model(self, name: str, description: str) -> None:
        assert name not in self.descriptions
        self.descriptions[name] = description

    def search_model_versions(self, wanted: str) -> list[Any]:
        (name,) = re.findall(r"name = '([^']*)'", wanted)
        tags = dict(re.findall(r"tags\.`([^`]*)` = '([^']*)'", wanted))
        return [each for each in self.versions if each.name == name and tags.items() <= each.tags.items()]

    def create_model_version(self, name: str, source: str, tags: Mapping[str, str], **given: Any) -> Any:
        number = max([0, *(each.version for each in self.versions if each.name == name)]) + 1
        self.versions.append(SimpleNamespace(name=name, version=number, source=source, tags=tags, **given))
        return self.versions[-1]

    def delete_model_version(self, name: str, version: int) -> None:
        self.versions = [each for each in self.versions if (each.name, each.version) != (name, version)]

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        _validate_model_alias_name(alias)
        self.aliases[alias] = version

    def get_logged_model(self, id_: str) -> Any:
        return SimpleNamespace(tags=self.model_tags.get(id_, {}))

    def set_logged_model_tags(self, id_: str, tags: Mapping[str, str]) -> None:
        self.model_tags.setdefault(id_, {}).update(tags)

    def linked(self, id_: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.model_tags[id_]["mlflow.modelVersions"])
        return found


@pytest.fixture
def registered() -> Registered:
    return Registered()


def model(id_: str = "m-1") -> Any:
    return SimpleNamespace(model_id=id_, source_run_id="run-1")


def publish(
    registered: Registered, revision: str, commit: str, *aliases: str, repo: str = REPO, of: str = "m-1"
) -> Any:
    tags = {REVISION: revision, COMMIT: commit}
    return Registry(cast(Any, registered)).version(repo, model(of), tags, aliases or [revision])


def test_version_names_its_model_revision_and_how_to_load_it(registered: Registered) -> None:
    made = publish(registered, "stage1-step75-tokens39K", "c" * 40)
    assert (made.name, made.source, made.model_id, made.run_id) == ("olmo-tiny", "models:/m-1", "m-1", "run-1")
    assert made.description == (
        'AutoModelForCausalLM.from_pretrained("org/olmo-tiny", revision="stage1-step75-tokens39K")'
    )
    assert registered.descriptions["olmo-tiny"].startswith("org/olmo-tiny on the Hub: ")


def test_same_commit_is_the_same_version(registered: Registered) -> None:
    first, second = (publish(registered, "main", "c" * 40) for _ in range(2))
    assert first is second and len(registered.versions) == 1
    assert registered.linked("m-1") == [{"name": "olmo-tiny", "version": "1"}], "listed once on the page of the model"


def test_another_commit_of_a_revision_is_another_version_that_takes_the_alias(registered: Registered) -> None:
    publish(registered, "main", "c" * 40)
    publish(registered, "main", "d" * 40, of="m-2")
    assert [each.tags[COMMIT] for each in registered.versions] == ["c" * 40, "d" * 40]
    assert registered.aliases == {"main": "2"}
    assert [registered.linked(each)[0]["version"] for each in ("m-1", "m-2")] == ["1", "2"]


def test_revisions_of_one_commit_are_versions_of_their_own(registered: Registered) -> None:
    """`main` is the commit of the soup under a second name."""
    publish(registered, "soup", "c" * 40)
    publish(registered, "main", "c" * 40, "main", "soup-is-main")
    assert [each.tags[REVISION] for each in registered.versions] == ["soup", "main"]
    assert registered.aliases == {"soup": "1", "main": "2", "soup-is-main": "2"}
    assert registered.linked("m-1") == [{"name": "olmo-tiny", "version": number} for number in "12"]


def test_oldest_of_versions_created_twice_is_kept(registered: Registered) -> None:
    """A version 10 is newer than a version 9, although its text sorts before it."""
    for number in range(1, 9):
        publish(registered, f"r{number}", "c" * 40)
    tags = {REVISION: "main", COMMIT: "d" * 40}
    for _ in range(2):
        registered.create_model_version("olmo-tiny", "models:/m-1", tags)
    registered.versions.reverse()
    assert publish(registered, "main", "d" * 40).version == 9
    assert sorted(each.version for each in registered.versions) == list(range(1, 10))
    assert registered.aliases["main"] == "9"


def test_models_of_two_repositories_are_apart(registered: Registered) -> None:
    publish(registered, "main", "c" * 40)
    other = publish(registered, "main", "c" * 40, repo="org/olmo-small")
    assert (other.name, other.version) == ("olmo-small", 1)
    assert registered.descriptions.keys() == {"olmo-tiny", "olmo-small"}


def test_versions_that_others_listed_on_a_model_stay(registered: Registered) -> None:
    own = [{"name": "by-hand", "version": "7"}]
    registered.model_tags["m-1"] = {"mlflow.modelVersions": json.dumps(own)}
    publish(registered, "main", "c" * 40)
    assert registered.linked("m-1") == [*own, {"name": "olmo-tiny", "version": "1"}]


@settings(max_examples=40)
@given(st.text("aZ09._-", max_size=60))
def test_alias_of_any_revision_is_one_for_mlflow(rest: str) -> None:
    registered, name = Registered(), f"stage1-{rest}"
    publish(registered, name, "c" * 40)
    assert list(registered.aliases) == [name.replace(".", "_")]
