"""Checks before a release starts: its parts, its store, its workers, and the target of its revisions."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import FakeHub, Fault, Repo
from report_world import fill, plan_of
from rich.console import Console

from flows.cli.plan import survey
from flows.opening import Opening, check_target, prepare, read_plan
from infra.profile import Profile, load_profile
from infra.services.errors import ServiceError
from olmo_core.artifact.attempt import begin
from olmo_core.artifact.identity import Step
from olmo_core.artifact.snapshot import Snapshot
from olmo_core.artifact.store import Store
from olmo_core.recipe.overrides import ConfigError

REPO = "olmo-release/micro"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr("olmo_core.hub.client.ATTEMPTS", 1)
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    return tmp_path


def test_prepare_does_not_read_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that Prefect's server can start in the meantime."""
    seen: list[Step] = []
    monkeypatch.setattr(Snapshot, "peek", lambda _, step: seen.append(step))
    plan = plan_of()
    opening = prepare(plan, load_profile("laptop"), plan.parts)
    assert seen == []
    assert len(opening.steps) == len(plan.steps)
    assert opening.todo == opening.steps
    assert seen != []


def test_unknown_part_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"^stage3: no such part; recipe micro has data, stage1, stage2, soup"):
        prepare(plan_of(), load_profile("laptop"), ["data", "stage3"])


def test_steps_with_changed_inputs_are_made_again(home: Path) -> None:
    plan, store = plan_of(), Store(home / "artifacts")
    fill(plan, store, plan.steps_of("data"))
    assert Opening(plan, load_profile("laptop"), store, ["data"]).todo == []
    corpus = plan.corpora["wisdom"]
    shutil.rmtree(home / "artifacts" / corpus.folder)
    attempt = begin(store, corpus)
    assert attempt is not None
    with attempt:
        (attempt.out / "text").write_text("another text")
        assert corpus.work is not None
        attempt.commit({}, {role: store.peek(source) for role, source in corpus.inputs.items()}, corpus.work)
    stale = [step for step in plan.steps_of("data") if corpus in step.inputs.values()]
    assert stale
    assert Opening(plan, load_profile("laptop"), store, ["data"]).todo == stale


def test_only_running_parts_must_fit_workers(home: Path) -> None:
    plan, three = plan_of(), load_profile("laptop", ["training.seeds.count=3"])
    store = Store(home / "artifacts")
    with pytest.raises(ConfigError, match=r"stages\.stage2 on training\.seeds .* cannot be shared by 3 workers"):
        Opening(plan, three, store, plan.parts).check()
    assert Opening(plan, three, store, ["data", "stage1"]).check() == ""
    (home / "three.yaml").write_text("training: {seeds: {count: 3}}")
    with pytest.raises(ConfigError, match=r"stages\.stage2 on training\.seeds"):
        survey("micro", str(home / "three.yaml"), [], False, Console())


@pytest.mark.parametrize("override", [[], ["--release.card.public=true"]])
def test_target_names_visibility_without_changing_ids(hub: FakeHub, override: list[str]) -> None:
    profile = Profile(name="hub", hub={"endpoint": hub.url})
    plan = read_plan("micro", override, profile)
    seen = "public" if override else "private"
    assert check_target(plan, profile) == f"{REPO} at {hub.url}, to be created {seen}"
    assert plan.id == read_plan("micro", [], profile).id


@pytest.mark.parametrize("override", [[], ["--release.card.public=true"]])
def test_plan_names_target_without_requests(hub: FakeHub, override: list[str], tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(f"hub: {{endpoint: '{hub.url}'}}")
    target = survey("micro", str(tmp_path / "mine.yaml"), override, False, Console())["revisions_go_to"]
    assert target == f"{REPO} at {hub.url}, {'public' if override else 'private'} unless it exists already"
    assert hub.requests == []
    assert survey("micro", "laptop", [], False, Console())["revisions_go_to"].startswith(
        f"the folder {tmp_path}/hub/models--"
    )


def test_foreign_model_is_refused_before_start(hub: FakeHub, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    repo = hub.repos[REPO] = Repo()
    repo.branches["main"] = repo.commit({"config.json": hub.blob(b"{}")}, "")
    profile = Profile(name="hub", hub={"endpoint": hub.url})
    with pytest.raises(ServiceError, match=rf"^hub: {REPO}: main holds config\.json, which this project did not write"):
        check_target(read_plan("micro", [], profile), profile)


def test_unreachable_hub_is_reported_in_one_line(hub: FakeHub) -> None:
    hub.faults.append(Fault("GET .*", status=500, times=100))
    profile = Profile(name="hub", hub={"endpoint": hub.url})
    with pytest.raises(ServiceError, match=r"^hub: .* does not answer after 1 attempts: ") as error:
        check_target(read_plan("micro", [], profile), profile)
    assert "\n" not in str(error.value)
