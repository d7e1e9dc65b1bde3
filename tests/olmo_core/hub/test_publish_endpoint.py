import os
import subprocess
import sys
from dataclasses import replace

import huggingface_hub.constants
import pytest
from httpx2 import TransportError
from hub_server import FakeHub, Fault
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from olmo_core.hub.endpoint import ATTEMPTS, STAGING, HubEndpoint
from olmo_core.hub.publish import publish, published
from olmo_core.hub.target import PublishError
from olmo_core.hub.verify import Parity, ParityError

REPO = "olmo/tiny"
EARLY, LATE = "stage1-step40-tokens200K", "stage1-step400-tokens2M"


@pytest.fixture
def hub(monkeypatch):
    # Waits inside the client itself; ours go through `waits`.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def waits():
    return []


@pytest.fixture
def target(hub, waits):
    return HubEndpoint(REPO, hub.url, wait=waits.append)


def shows(hub, name, revision):
    return hub.files(REPO, name) == {
        entry.path: (revision.folder / entry.path).read_bytes() for entry in revision.files
    }


def test_revisions_appear_with_exactly_their_files(hub, target, revision, native):
    assert published(target) == []
    late, early, main = replace(revision(LATE), code="abc123"), revision(EARLY, seed=1), revision("main", seed=2)
    for made, seed in ((late, 0), (main, 2), (early, 1)):
        assert not publish(made, native(seed), target).reused
    assert published(target) == [EARLY, LATE, "main"]
    assert shows(hub, LATE, late) and shows(hub, EARLY, early) and shows(hub, "main", main)
    assert hub.repos[REPO].branches == target.published()  # No staging branch is left.
    assert hub.messages[0] == f"{LATE}\nMade by code at commit abc123"


def test_again_changes_nothing(hub, target, revision, native, monkeypatch):
    made = revision(LATE)
    first = publish(made, native(), target)
    before = hub.repos[REPO].branches.copy()
    hub.requests.clear()
    monkeypatch.setattr("olmo_core.hub.verify.verify", lambda *args: pytest.fail("loaded again"))
    again = publish(made, native(), target)
    assert again.reused and again.commit == first.commit
    assert hub.repos[REPO].branches == before
    assert hub.count("^(POST|PUT|DELETE)") == 0


def test_a_name_is_one_commit_and_moves_by_one(hub, target, revision, native):
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


def test_equal_weights_go_up_once(hub, target, revision, native):
    publish(revision(EARLY), native(), target)
    publish(revision(LATE), native(), target)
    assert published(target) == [EARLY, LATE]
    assert hub.count("PUT /lfs/") == 1


@pytest.mark.parametrize(
    ("fault", "waited"),
    [
        (Fault(f"POST .*/commit/{STAGING}", 500, after=True), [1.0]),
        (Fault(f"POST .*/commit/{STAGING}", 502), [1.0]),
        (Fault(f"POST .*/commit/{STAGING}", cut=True, after=True), [1.0]),
        (Fault(f"POST .*/commit/{STAGING}", 429, {"Retry-After": "17"}), [17.0]),
        (Fault(f"POST .*/commit/{STAGING}", 503, times=3), [1.0, 2.0, 4.0]),
        (Fault("POST .*/branch/stage1", 500, after=True), [1.0]),
        (Fault("POST .*/branch/staging", 429, {"Retry-After": "5"}), [5.0]),
        (Fault("POST .*/repos/create", 500, after=True), [1.0]),
        (Fault("DELETE .*/branch/", 504, after=True), [1.0]),
        (Fault("GET .*/refs", 503, times=2), [1.0, 2.0]),
        (Fault("POST .*/preupload/", 429, {"Retry-After": "3"}), []),
        (Fault("PUT /lfs/", 500, times=2), []),
        (Fault("PUT /lfs/", 503, times=6), [1.0]),
        (Fault("GET .*/resolve/.*safetensors", cut=True), []),
    ],
)
def test_faults_are_outlived(hub, target, revision, native, waits, fault, waited):
    """Each fault strikes, is waited out as asked, and leaves one commit and one name with the right files."""
    hub.faults.append(fault)
    made = revision(LATE)
    publish(made, native(), target)
    assert fault.times == 0
    assert waits == waited
    assert shows(hub, LATE, made)
    assert set(hub.repos[REPO].branches) == {LATE, "main"}
    assert len(hub.repos[REPO].commits) == 2  # That of the repository itself, and ours: none was made twice.


def test_lost_answer_to_the_commit_of_an_existing_name(hub, target, revision, native):
    publish(revision("main"), native(), target)
    commits = len(hub.repos[REPO].commits)
    hub.faults.append(Fault("POST .*/commit/main", 500, after=True))
    changed = replace(revision("next", seed=1), name="main")
    publish(changed, native(1), target)
    assert shows(hub, "main", changed)
    assert len(hub.repos[REPO].commits) == commits + 2


def test_another_writer_is_noticed(hub, target, revision, native, monkeypatch):
    """Somebody commits to the branch between reading its head and committing: 412, read again, still exact."""
    made = revision("main")
    create = target.api.create_commit
    stray = []

    def between(*args, **kwargs):
        if kwargs["revision"] == "main" and not stray:
            repo = hub.repos[REPO]
            files = {**repo.commits[repo.branches["main"]], "stray.txt": hub.blob(b"stray")}
            repo.branches["main"] = repo.commit(files, repo.branches["main"])
            stray.append(repo.branches["main"])
        return create(*args, **kwargs)

    monkeypatch.setattr(target.api, "create_commit", between)
    publish(made, native(), target)
    assert stray and hub.count("POST .*/commit/main") == 2
    assert (
        len(hub.repos[REPO].commits) == 4
    )  # The repository's, staging, the stray one, ours: the first try was refused.
    assert shows(hub, "main", made)


def test_endless_outage_is_an_error_and_no_name(hub, target, revision, native, waits):
    hub.faults.append(Fault("POST .*/commit/", 503, times=100))
    with pytest.raises(PublishError, match=f"does not hold its files after {ATTEMPTS} attempts.*503"):
        publish(revision(LATE), native(), target)
    assert published(target) == [] and waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    hub.faults.clear()
    publish(revision("x"), native(), target)


def test_too_long_a_wait_is_not_sat_out(hub, target, revision, native, waits):
    hub.faults.append(Fault("POST .*/commit/", 429, {"Retry-After": "3600"}))
    with pytest.raises(PublishError, match="asks to wait 3600 seconds"):
        publish(revision(LATE), native(), target)
    assert waits == []


def test_a_hub_without_xet_is_told_what_to_set(hub, target, revision, native, waits, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(PublishError, match=f"{hub.url} takes no large files by xet; set HF_HUB_DISABLE_XET=1"):
        publish(revision(LATE), native(), target)
    assert published(target) == [] and waits == []


@pytest.mark.parametrize(
    ("said", "waited"),
    [
        ("Network error: Request error: HTTP status server error (503 Service Unavailable)", [1.0]),
        ("Network error: connection reset", [1.0]),
        ("Network error: Request error: HTTP status client error (403 Forbidden)", None),
    ],
)
def test_faults_of_xet_are_waited_out_and_its_refusals_are_not(
    hub, target, revision, native, waits, monkeypatch, said, waited
):
    create, faults = target.api.create_commit, [ConnectionError(said)]

    def faulty(*args, **kwargs):
        if faults:
            raise faults.pop()
        return create(*args, **kwargs)

    monkeypatch.setattr(target.api, "create_commit", faulty)
    if waited is None:
        with pytest.raises(ConnectionError, match="403"):
            publish(revision(LATE), native(), target)
    else:
        publish(revision(LATE), native(), target)
        assert published(target) == [LATE] and waits == waited


@pytest.mark.parametrize("status", [400, 401, 403])
def test_refusals_are_not_repeated(hub, target, revision, native, status):
    hub.faults.append(Fault("POST .*/commit/", status, times=100))
    with pytest.raises(HfHubHTTPError) as refused:
        publish(revision(LATE), native(), target)
    assert refused.value.response.status_code == status
    assert hub.count("POST .*/commit/") == 1


def test_killed_at_any_request_then_run_again(revision, native, tmp_path, monkeypatch):
    """Cut publishing off at every request in turn: no name shows early, and the next call finishes with one commit."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr("olmo_core.hub.verify.verify", lambda *args: Parity(1, 0.0, 1.0))  # Proven elsewhere.
    made = revision(LATE)
    point = visible = 0
    finished = False
    while not finished:
        with FakeHub() as hub:
            target = HubEndpoint(REPO, hub.url, wait=lambda seconds: None)
            left = [point]
            answer = FakeHub.answer

            def counted(self, request, left=left, answer=answer):
                left[0] -= 1
                if left[0] < 0:
                    request.close_connection = True
                    request.connection.close()
                else:
                    answer(self, request)

            with monkeypatch.context() as patch:
                patch.setattr(FakeHub, "answer", counted)
                patch.setattr("olmo_core.hub.endpoint.ATTEMPTS", 2)
                try:
                    publish(made, native(), target)
                    finished = True
                except (TransportError, HfHubHTTPError, PublishError, LocalEntryNotFoundError):
                    finished = False
            if REPO in hub.repos and LATE in hub.repos[REPO].branches:
                assert shows(hub, LATE, made)
                visible += 1
            publish(made, native(), target)
            assert shows(hub, LATE, made)
            assert set(hub.repos[REPO].branches) == {LATE, "main"}
            assert len(hub.repos[REPO].commits) == 2
        point += 1
    assert point > 12 and visible > 1  # Cut before and after the name appeared.


def test_false_model_never_gets_its_name(hub, target, revision, native):
    with pytest.raises(ParityError):
        publish(revision(LATE, seed=1), native(0), target)
    assert published(target) == []
    made = revision("again")
    publish(replace(made, name=LATE), native(0), target)  # What lies on the staging branch does no harm.
    assert shows(hub, LATE, made)


def test_bytes_changed_on_the_way_are_noticed(hub, target, revision, native, monkeypatch):
    made = revision(LATE)
    upload = target.upload

    def damaged(revision):
        commit = upload(revision)
        for key in hub.lfs:
            hub.blobs[key] = hub.blobs[key][:-1] + bytes([hub.blobs[key][-1] ^ 1])
        return commit

    monkeypatch.setattr(target, "upload", damaged)
    with pytest.raises(PublishError, match=r"model.safetensors came back with other bytes"):
        publish(made, native(), target)
    assert published(target) == []


def test_token_comes_from_the_environment_and_goes_nowhere_else(revision, native, monkeypatch, capfd):
    secret = "hf_canary0123456789"
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    made = revision(LATE)
    with FakeHub(token=secret) as hub:
        target = HubEndpoint(REPO, hub.url, wait=lambda seconds: None)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        with pytest.raises(HfHubHTTPError, match="401"):
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
