"""Faults of a Hub: errors, lost responses, broken connections, and kills at any request."""

import pickle
from dataclasses import replace

import huggingface_hub.constants
import pytest
from hub_folder import LATE, REPO, content, shows
from hub_server import FakeHub, Fault

from olmo_core.hub.endpoint import STAGING, HubEndpoint
from olmo_core.hub.parity import Parity
from olmo_core.hub.pause import ATTEMPTS
from olmo_core.hub.publication import publish, published
from olmo_core.hub.target import PauseError, PublishError
from tasks.workers.failures import root_message


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
def test_transient_fault_is_survived(hub, target, revision, native, waits, fault, waited):
    """Publishing waits after each fault as asked, and leaves one commit and one name with the right files."""
    hub.faults.append(fault)
    made = revision(LATE)
    publish(made, native(), target)
    assert fault.times == 0
    assert waits == waited
    assert shows(hub, LATE, made)
    assert set(hub.repos[REPO].branches) == {LATE, "main"}
    assert len(hub.repos[REPO].commits) == 2  # The repository's first one and ours: none was made twice.


def test_lost_response_to_commit_of_existing_name(hub, target, revision, native):
    publish(revision("main"), native(), target)
    commits = len(hub.repos[REPO].commits)
    hub.faults.append(Fault("POST .*/commit/main", 500, after=True))
    changed = replace(revision("next", seed=1), name="main")
    publish(changed, native(1), target)
    assert shows(hub, "main", changed)
    assert len(hub.repos[REPO].commits) == commits + 2


def test_concurrent_writer_is_noticed(hub, target, revision, native, monkeypatch):
    """Another commit between reading the head and committing gives a 412; the head is read again, their file stays."""
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
    # The repository's, staging, the other writer's, ours: the first attempt was refused.
    assert len(hub.repos[REPO].commits) == 4
    assert hub.files(REPO, "main") == {**content(made), "stray.txt": b"stray"}


def test_endless_outage_raises_and_moves_no_name(hub, target, revision, native, waits):
    hub.faults.append(Fault("POST .*/commit/", 503, times=100))
    with pytest.raises(PublishError, match=f"does not hold its files after {ATTEMPTS} attempts.*503"):
        publish(revision(LATE), native(), target)
    assert published(target) == [] and waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    hub.faults.clear()
    publish(revision("x"), native(), target)


WINDOW = {"ratelimit": '"api";r=0;t=120'}
DATE = {"Date": "Wed, 21 Oct 2026 07:00:00 GMT", "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}


@pytest.mark.parametrize(
    ("request_", "headers", "seconds"),
    [
        ("GET .*/tree/", WINDOW, 120),
        ("GET .*/refs", DATE, 1680),
        ("POST .*/commit/staging", {"Retry-After": "1800"}, 1800),
        ("POST .*/branch/stage1", WINDOW, 120),
    ],
)
def test_long_pause_ends_the_call_and_next_one_continues(
    hub, target, revision, native, waits, monkeypatch, request_, headers, seconds
):
    monkeypatch.setattr("olmo_core.hub.parity.verify", lambda *args: Parity(1, 0.0, 1.0))  # Tested elsewhere.
    made = revision(LATE)
    target.published()
    hub.faults.append(Fault(request_, 429, headers))
    with pytest.raises(PauseError, match=f"asks for a pause of {seconds} s") as raised:
        publish(made, native(), target)
    assert pickle.loads(pickle.dumps(raised.value)).seconds == seconds  # It is raised in another process.
    publish(made, native(), target)
    assert shows(hub, LATE, made) and waits == []
    assert len(hub.repos[REPO].commits) == 2


@pytest.mark.parametrize(
    ("headers", "waited"),
    [({"ratelimit": '"api";r=0;t=12'}, 12), ({"ratelimit": '"api";r=7;t=120'}, 1), ({"Retry-After": "soon"}, 1)],
)
def test_short_pause_is_waited_out(hub, target, waits, headers, waited):
    hub.faults.append(Fault("POST .*/repos/create", 429, headers))
    target._client.call(lambda api: api.create_repo(REPO))
    assert waits == [waited]


def test_pause_of_more_than_an_hour_is_an_outage(hub, target, revision, native, waits):
    hub.faults.append(Fault("POST .*/commit/", 503, {"Retry-After": "7200"}))
    with pytest.raises(PublishError, match="a pause of 7200 s, more than an hour; publish again later"):
        publish(revision(LATE), native(), target)
    assert waits == []


def test_hub_without_xet_raises_with_the_remedy(hub, target, revision, native, waits, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(PublishError, match=f"{hub.url} does not support xet for large files; set HF_HUB_DISABLE_XET=1"):
        publish(revision(LATE), native(), target)
    assert published(target) == [] and waits == []


@pytest.mark.parametrize(
    ("message", "waited"),
    [
        ("Network error: Request error: HTTP status server error (503 Service Unavailable)", [1.0]),
        ("Network error: connection reset", [1.0]),
        ("Network error: Request error: HTTP status client error (403 Forbidden)", None),
    ],
)
def test_transient_xet_fault_is_retried_and_refusal_is_not(
    hub, target, revision, native, waits, monkeypatch, message, waited
):
    create, faults = target.api.create_commit, [ConnectionError(message)]

    def faulty(*args, **kwargs):
        if faults:
            raise faults.pop()
        return create(*args, **kwargs)

    monkeypatch.setattr(target.api, "create_commit", faulty)
    if waited is None:
        with pytest.raises(PublishError, match=r"answers 403: .*Forbidden.*HF_TOKEN"):
            publish(revision(LATE), native(), target)
    else:
        publish(revision(LATE), native(), target)
        assert published(target) == [LATE] and waits == waited


@pytest.mark.parametrize(
    ("request_", "status", "remedy"),
    [
        ("POST .*/commit/", 400, "correct the field of release.card that it names"),
        ("POST .*/commit/", 403, "set HF_TOKEN to a token that may write there"),
        ("POST .*/repos/create", 401, "set HF_TOKEN to a token that may write there"),
        ("POST .*/branch/", 418, "look at the status page"),
    ],
)
def test_refusal_is_one_line_and_not_retried(hub, target, revision, native, request_, status, remedy):
    hub.faults.append(Fault(request_, status, times=100))
    with pytest.raises(PublishError, match=f"^{REPO} at {hub.url} answers {status}: .*; {remedy}") as refused:
        publish(revision(LATE), native(), target)
    assert "\n" not in str(refused.value) and root_message(refused.value) == f"PublishError: {refused.value}"
    assert hub.count(request_) == 1


def test_publication_killed_at_any_request_can_be_finished(revision, native, tmp_path, monkeypatch):
    """Interrupt publishing at each request in turn: no name appears early; the next call finishes with one commit."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr("olmo_core.hub.parity.verify", lambda *args: Parity(1, 0.0, 1.0))  # Tested elsewhere.
    made = revision(LATE)
    point = visible = 0
    finished = False
    while not finished:
        with FakeHub() as hub:
            target = HubEndpoint(REPO, hub.url, scratch=tmp_path, wait=lambda seconds: None)
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
                patch.setattr("olmo_core.hub.client.ATTEMPTS", 2)
                patch.setattr("olmo_core.hub.endpoint.ATTEMPTS", 2)
                try:
                    publish(made, native(), target)
                    finished = True
                except (ConnectionError, PublishError):
                    finished = False
            if REPO in hub.repos and LATE in hub.repos[REPO].branches:
                assert shows(hub, LATE, made)
                visible += 1
            publish(made, native(), target)
            assert shows(hub, LATE, made)
            assert set(hub.repos[REPO].branches) == {LATE, "main"}
            assert len(hub.repos[REPO].commits) == 2
        point += 1
    assert point > 12 and visible > 1  # Interrupted before and after the name appeared.


def test_bytes_changed_in_transit_are_noticed(hub, target, revision, native, monkeypatch):
    made = revision(LATE)
    upload = target.upload

    def damaged(revision):
        commit = upload(revision)
        for key in hub.lfs:
            hub.blobs[key] = hub.blobs[key][:-1] + bytes([hub.blobs[key][-1] ^ 1])
        return commit

    monkeypatch.setattr(target, "upload", damaged)
    with pytest.raises(PublishError, match=r"the downloaded model.safetensors differs from the upload"):
        publish(made, native(), target)
    assert published(target) == []
