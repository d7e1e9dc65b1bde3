import os
import subprocess
import sys

import huggingface_hub
import pytest
from hub_server import FakeHub, Fault

from olmo_core.hub.endpoint import HubEndpoint
from olmo_core.hub.publish import publish, published
from olmo_core.hub.target import PublishError
from olmo_core.hub.verify import ParityError

REPO = "olmo/tiny"
STEP = "stage1-step400-tokens2M"


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def waits():
    return []


@pytest.fixture
def target(hub, waits):
    return HubEndpoint(REPO, hub.url, wait=waits.append)


def test_revisions_appear_and_are_reused(hub, target, revision, native):
    first = publish(revision(STEP), native(), target)
    main = publish(revision("main", seed=1), native(1), target)
    assert published(target) == [STEP, "main"]
    assert hub.repos[REPO].branches == {STEP: first.commit, "main": main.commit}
    commits = hub.count("POST .*/commit/")
    again = publish(revision_of(revision, "main", 1), native(1), target)
    assert again.reused and again.commit == main.commit
    assert hub.count("POST .*/commit/") == commits


def revision_of(revision, name, seed):
    from dataclasses import replace

    made = revision(f"{name}-again", seed=seed)
    readme = made.folder / "README.md"
    readme.write_text(readme.read_text().replace("-again", ""))
    from conftest import entries

    return replace(made, name=name, files=entries(made.folder))
