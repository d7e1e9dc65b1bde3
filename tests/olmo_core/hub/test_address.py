"""Addresses of models, and the commit or digest that a recipe pins."""

import pytest
from hub_server import FakeHub

from olmo_core.hub.address import pretrained_at
from olmo_core.hub.endpoint import HubEndpoint
from olmo_core.hub.import_model import folder_digest
from olmo_core.hub.pretrained import PretrainedConfig

REPO = "olmo/tiny"


def test_address_of_revision_is_pinned_to_its_commit(revision):
    with FakeHub() as hub:
        endpoint, made = HubEndpoint(REPO, hub.url), revision("stage1-step4")
        commit = endpoint.move_name(endpoint.upload(made), made).commit
        pinned = PretrainedConfig(repo=REPO, revision=commit)
        assert pretrained_at(f"{REPO}@stage1-step4", hub.url) == pinned
        assert pretrained_at(f"{REPO}@{commit}", hub.url) == pinned
        with pytest.raises(ValueError, match=f"{REPO}@stage1-step5 is neither a folder .* it has stage1-step4$"):
            pretrained_at(f"{REPO}@stage1-step5", hub.url)
        with pytest.raises(
            ValueError, match=r"olmo/none is neither a folder .* repository does not exist or has no model"
        ):
            pretrained_at("olmo/none", hub.url)


def test_address_of_folder_is_pinned_to_its_digest(revision, native, tmp_path, monkeypatch):
    folder = revision("r").folder
    assert pretrained_at(str(folder)) == PretrainedConfig(path=str(folder), sha256=folder_digest(folder))
    monkeypatch.chdir(native().parent)
    assert pretrained_at(native().name).path == str(native())
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"empty has neither model\.safetensors nor"):
        pretrained_at(str(empty))


def test_unknown_address_is_refused():
    with pytest.raises(ValueError, match="base is neither a folder on this machine nor a repository; write"):
        pretrained_at("base")
