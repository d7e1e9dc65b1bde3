"""Files of others in a repository stay, and a repository is private until its owner decides otherwise."""

import json
from dataclasses import replace

import pytest
from hub_folder import LATE, REPO, content, entries, shows
from hub_server import Repo

from olmo_core.hub.endpoint import HubEndpoint
from olmo_core.hub.lineage import LINEAGE_FILE, encode
from olmo_core.hub.parity import Parity
from olmo_core.hub.publication import publish, published
from olmo_core.hub.target import PublishError

OTHERS = {"LICENSE": b"as is", "images/curve.png": b"\x89PNG", "model-Q4.gguf": b"GGUF", "eval.json": b"{}"}
CARD = b"---\nlicense: mit\n---\n# By hand\n"


@pytest.fixture(autouse=True)
def proven(monkeypatch):
    monkeypatch.setattr("olmo_core.hub.parity.verify", lambda *args: Parity(1, 0.0, 1.0))


def put(hub, files, gone=()):
    """Commit files to `main` as another user."""
    repo = hub.repos.setdefault(REPO, Repo())
    tree = dict(repo.commits[repo.branches["main"]]) if "main" in repo.branches else {}
    tree |= {path: hub.blob(text) for path, text in files.items()}
    repo.branches["main"] = repo.commit({path: key for path, key in tree.items() if path not in gone}, "")


def made_as(revision, name, seed, **files):
    """Return another revision with the same name."""
    return replace(revision(f"{name}-{seed}", seed=seed, **files), name=name)


def test_files_of_others_stay_on_main(hub, target, revision, native):
    put(hub, OTHERS)
    first = made_as(revision, "main", 0, extra_txt="x")
    assert not publish(first, native(), target).reused
    assert hub.files(REPO, "main") == content(first) | OTHERS
    assert publish(first, native(), target).reused
    second = made_as(revision, "main", 1)
    publish(second, native(1), target)
    assert hub.files(REPO, "main") == content(second) | OTHERS, "a file of ours that is not made any more is gone"
    assert published(target) == ["main"]


def test_checkpoint_holds_no_files_that_others_put_on_main(hub, target, revision, native):
    put(hub, OTHERS)
    made = revision(LATE)
    publish(made, native(), target)
    assert shows(hub, LATE, made) and hub.files(REPO, "main") == OTHERS


@pytest.mark.parametrize("before", [True, False], ids=["written-first", "edited-later"])
def test_card_written_by_hand_stays_and_is_named(hub, target, revision, native, before):
    if before:
        put(hub, {"README.md": CARD})
    else:
        publish(made_as(revision, "main", 2), native(2), target)
        put(hub, {"README.md": CARD})
    made = made_as(revision, "main", 0)
    assert publish(made, native(), target).kept == ("README.md",)
    assert hub.files(REPO, "main") == content(made) | {"README.md": CARD}
    again = publish(made, native(), target)
    assert again.reused and again.kept == ("README.md",)
    put(hub, {}, gone=["README.md"])
    assert publish(made, native(), target).kept == ()
    assert shows(hub, "main", made)


@pytest.mark.parametrize(
    "card", [b"", b"---\nlicense: mit\n---\n", b"---\r\nlicense: mit\r\ntags:\r\n- a\r\n---\r\n\n"]
)
def test_card_without_text_is_replaced(hub, target, revision, native, card):
    put(hub, {"README.md": card})
    made = revision("main")
    assert publish(made, native(), target).kept == ()
    assert shows(hub, "main", made)


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "adapter_config.json", "lineage.json"],
)
def test_model_of_others_is_refused_before_upload(hub, target, revision, native, name):
    put(hub, {name: b"{}"} | OTHERS)
    commits = hub.repos[REPO].branches.copy()
    with pytest.raises(PublishError, match=rf"^{REPO}: main holds {name}, which this project did not write"):
        publish(revision("main"), native(), target)
    assert hub.files(REPO, "main") == {name: b"{}"} | OTHERS
    assert hub.repos[REPO].branches == commits
    if name not in ("model.safetensors", "lineage.json"):  # Only a revision decides whether these are ours.
        with pytest.raises(PublishError, match=name):
            target.state()


def test_own_file_changed_by_others_is_not_overwritten(hub, target, revision, native):
    publish(made_as(revision, "main", 0), native(), target)
    config = json.loads(hub.files(REPO, "main")["config.json"])
    put(hub, {"config.json": json.dumps(config).encode()})
    with pytest.raises(PublishError, match=r"main holds config\.json"):
        publish(made_as(revision, "main", 1), native(1), target)


def test_lineage_lists_the_files_of_its_revision(revision):
    made = revision("main")
    listed = json.loads((made.folder / LINEAGE_FILE).read_text())["files"]
    assert [entry["path"] for entry in listed] == sorted(content(made).keys() - {LINEAGE_FILE})
    assert encode({}, entries(made.folder)) == encode({}, reversed(entries(made.folder)))


@pytest.mark.parametrize("public", [False, True])
def test_repository_is_private_unless_public_is_set(hub, tmp_path, revision, native, public):
    target = HubEndpoint(REPO, hub.url, public=public, scratch=tmp_path, wait=lambda seconds: None)
    assert target.state() == f"{REPO} at {hub.url}, to be created {'public' if public else 'private'}"
    publish(revision(LATE), native(), target)
    assert hub.repos[REPO].private is not public


@pytest.mark.parametrize("private", [False, True])
def test_existing_repository_keeps_its_visibility(hub, tmp_path, revision, native, private):
    put(hub, OTHERS)
    hub.repos[REPO].private = private
    target = HubEndpoint(REPO, hub.url, public=private, scratch=tmp_path, wait=lambda seconds: None)
    seen = "private" if private else "public"
    assert target.state() == f"{REPO} at {hub.url}, which is {seen} and stays {seen}"
    publish(revision(LATE), native(), target)
    assert hub.repos[REPO].private is private
