"""What people call a model elsewhere, and what a recipe pins of it."""

import pytest
from hub_server import FakeHub

from olmo_core.hub.address import pretrained_at
from olmo_core.hub.endpoint import HubEndpoint
from olmo_core.hub.import_model import folder_digest
from olmo_core.hub.pretrained import PretrainedConfig

REPO = "olmo/tiny"


def test_a_revision_is_the_commit_it_stands_at(revision):
    with FakeHub() as hub:
        endpoint, made = HubEndpoint(REPO, hub.url), revision("stage1-step4")
        commit = endpoint.show(endpoint.upload(made), made).commit
        pinned = PretrainedConfig(repo=REPO, revision=commit)
        assert pretrained_at(f"{REPO}@stage1-step4", hub.url) == pinned
        assert pretrained_at(f"{REPO}@{commit}", hub.url) == pinned
        with pytest.raises(ValueError, match=f"{REPO}@stage1-step5 is no folder .* it shows stage1-step4$"):
            pretrained_at(f"{REPO}@stage1-step5", hub.url)
        with pytest.raises(ValueError, match=r"olmo/none is no folder .* no such repository, or it shows nothing"):
            pretrained_at("olmo/none", hub.url)


def test_a_folder_is_its_digest(revision, native, tmp_path, monkeypatch):
    folder = revision("r").folder
    assert pretrained_at(str(folder)) == PretrainedConfig(path=str(folder), sha256=folder_digest(folder))
    monkeypatch.chdir(native().parent)
    assert pretrained_at(native().name).path == str(native())
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"empty holds neither model\.safetensors nor"):
        pretrained_at(str(empty))


def test_what_is_neither_is_said():
    with pytest.raises(ValueError, match="base is no folder on this machine, and no repository: write organisation"):
        pretrained_at("base")
