import errno
import os
import subprocess
import sys
import tempfile
from dataclasses import replace

import pytest
from hub_folder import EARLY, LATE, REPO, shows
from hub_server import FakeHub

from olmo_core.hub.endpoint import HubEndpoint
from olmo_core.hub.parity import Parity, ParityError
from olmo_core.hub.publication import publish, published
from olmo_core.hub.target import PublishError
from tasks.workers.failures import root_message

PROVEN = Parity(1, 0.0, 1.0)


def test_revisions_appear_with_exactly_their_files(hub, target, revision, native):
    assert published(target) == []
    late, early, main = replace(revision(LATE), code="abc123"), revision(EARLY, seed=1), revision("main", seed=2)
    for made, seed in ((late, 0), (main, 2), (early, 1)):
        assert not publish(made, native(seed), target).reused
    assert published(target) == [EARLY, LATE, "main"]
    assert shows(hub, LATE, late) and shows(hub, EARLY, early) and shows(hub, "main", main)
    assert hub.repos[REPO].branches == target.published()  # No staging branch remains.
    assert hub.messages[0] == f"{LATE}\nMade by code at commit abc123"


def test_second_publication_changes_nothing(hub, target, revision, native, monkeypatch):
    made = revision(LATE)
    first = publish(made, native(), target)
    before = hub.repos[REPO].branches.copy()
    hub.requests.clear()
    monkeypatch.setattr("olmo_core.hub.parity.verify", lambda *args: pytest.fail("loaded again"))
    again = publish(made, native(), target)
    assert again.reused and again.commit == first.commit
    assert hub.repos[REPO].branches == before
    assert hub.count("^(POST|PUT|DELETE)") == 0


def test_name_moves_by_one_commit(hub, target, revision, native):
    publish(revision("main"), native(), target)
    commits = hub.count("POST .*/commit/")
    changed = replace(revision("next", seed=1, extra_txt="x"), name="main")
    publish(changed, native(1), target)
    assert shows(hub, "main", changed)
    assert hub.count("POST .*/commit/main") == 2
    assert hub.count("POST .*/commit/") == commits + 2  # Staging, then the name.
    fewer = replace(changed, files=tuple(entry for entry in changed.files if entry.path != "extra.txt"))
    publish(fewer, native(1), target)
    assert shows(hub, "main", fewer)


def test_equal_weights_are_uploaded_once(hub, target, revision, native):
    publish(revision(EARLY), native(), target)
    publish(revision(LATE), native(), target)
    assert published(target) == [EARLY, LATE]
    assert hub.count("PUT /lfs/") == 1


def test_wrong_model_never_gets_its_name(hub, target, revision, native):
    with pytest.raises(ParityError):
        publish(revision(LATE, seed=1), native(0), target)
    assert published(target) == []
    made = revision("again")
    publish(replace(made, name=LATE), native(0), target)  # The files on the staging branch do no harm.
    assert shows(hub, LATE, made)


def test_token_comes_from_environment_and_is_not_leaked(revision, native, tmp_path, monkeypatch, capfd):
    secret = "hf_canary0123456789"
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    made = revision(LATE)
    with FakeHub(token=secret) as hub:
        target = HubEndpoint(REPO, hub.url, scratch=tmp_path, wait=lambda seconds: None)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        with pytest.raises(PublishError, match="401"):
            publish(made, native(), target)
        monkeypatch.setenv("HF_TOKEN", secret)
        publish(made, native(), target)
        assert shows(hub, LATE, made)
        assert not any(secret.encode() in blob for blob in hub.blobs.values())
    assert secret not in "".join(capfd.readouterr())


def test_transformers_loads_from_the_endpoint(hub, target, revision, native, tmp_path):
    for name, seed in ((LATE, 0), ("main", 1)):
        publish(revision(name, seed=seed), native(seed), target)
    code = (
        "import sys, torch\n"
        "from safetensors.torch import load_file\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"for name, native in (({LATE!r}, sys.argv[1]), ('main', sys.argv[2])):\n"
        f"    model = AutoModelForCausalLM.from_pretrained({REPO!r}, revision=name)\n"
        f"    assert AutoTokenizer.from_pretrained({REPO!r}, revision=name)('a quick test')['input_ids']\n"
        "    assert torch.equal(model.lm_head.weight, load_file(native + '/model.safetensors')['head.weight']), name\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    subprocess.run([sys.executable, "-c", code, native(0), native(1)], env=environment, check=True, timeout=240)


def test_verification_needs_no_space_for_temporary_files(hub, target, revision, native, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    left = tmp_path / "scratch"
    monkeypatch.setattr("olmo_core.hub.parity.verify", lambda repo, commit, cache, _: seen.append(cache) or PROVEN)
    made, seen = revision(LATE), []
    publish(made, native(), target)
    assert [cache.parent for cache in seen] == [left] and list(left.iterdir()) == []


def test_full_disk_is_named(target, revision, native, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(target.api, "snapshot_download", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/scratch/hub-") as raised:
        publish(revision(LATE), native(), target)
    assert str(tmp_path) in root_message(raised.value)
