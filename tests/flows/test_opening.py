"""What is looked at before a release starts, at the place its revisions go to."""

from collections.abc import Iterator

import pytest
from hub_server import FakeHub, Fault, Repo
from rich.console import Console

from flows.cli.plan import survey
from flows.opening import check_target, read_plan
from infra.profile import Profile
from infra.services.errors import ServiceError

REPO = "olmo-release/micro"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr("olmo_core.hub.client.ATTEMPTS", 1)
    with FakeHub() as hub:
        yield hub


@pytest.mark.parametrize("override", [[], ["--release.card.public=true"]])
def test_who_will_see_it_is_said_and_changes_no_id(hub: FakeHub, override: list[str]) -> None:
    plan, profile = read_plan("micro", override), Profile(name="hub", hub={"endpoint": hub.url})
    seen = "public" if override else "private"
    assert check_target(plan, profile) == f"{REPO} at {hub.url}, to be created {seen}"
    assert plan.id == read_plan("micro", []).id


@pytest.mark.parametrize("override", [[], ["--release.card.public=true"]])
def test_a_plan_says_where_revisions_go_without_asking(
    hub: FakeHub, override: list[str], tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(f"hub: {{endpoint: '{hub.url}'}}")
    said = survey("micro", str(tmp_path / "mine.yaml"), override, False, Console())["revisions_go_to"]
    assert said == f"{REPO} at {hub.url}, {'public' if override else 'private'} unless it exists already"
    assert hub.requests == []
    assert survey("micro", "laptop", [], False, Console())["revisions_go_to"].startswith(
        f"the folder {tmp_path}/hub/models--"
    )


def test_a_model_of_others_is_refused_before_anything_starts(hub: FakeHub, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    repo = hub.repos[REPO] = Repo()
    repo.branches["main"] = repo.commit({"config.json": hub.blob(b"{}")}, "")
    profile = Profile(name="hub", hub={"endpoint": hub.url})
    with pytest.raises(ServiceError, match=rf"^hub: {REPO}: main holds config\.json, which this project did not write"):
        check_target(read_plan("micro", []), profile)


def test_a_hub_that_does_not_answer_is_one_line(hub: FakeHub) -> None:
    hub.faults.append(Fault("GET .*", status=500, times=100))
    with pytest.raises(ServiceError, match=r"^hub: .* does not answer after 1 attempts: ") as told:
        check_target(read_plan("micro", []), Profile(name="hub", hub={"endpoint": hub.url}))
    assert "\n" not in str(told.value)
