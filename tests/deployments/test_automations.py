"""Automations: which ones a profile has, what they react to, and that each is registered once."""

import json
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import Event, Resource

from deployments.automations import automations, put
from flows.nightly import REGRESSION
from infra.profile import Profile
from olmo_core.recipe.overrides import ConfigError

BLOCK = UUID(int=7)
PROFILE = Profile(name="team", webhook="OLMO_WEBHOOK")
ADDRESS = "https://chat.example/hook/secret-token"


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect the blocks that would be saved on the server."""
    found: list[dict[str, Any]] = []

    def save(block: Webhook, name: str, overwrite: bool) -> UUID:
        found.append({"name": name, "overwrite": overwrite, "url": block.url.get_secret_value(), "shown": str(block)})
        return BLOCK

    monkeypatch.setattr(Webhook, "save", save)
    return found


def test_profile_without_webhook_posts_nothing(saved: list[dict[str, Any]]) -> None:
    (crashed,) = automations(Profile(name="alone"))
    assert [action.type for action in crashed.actions] == ["change-flow-run-state"]
    assert saved == []


def test_address_of_the_webhook_is_stored_as_a_secret_under_one_name(
    saved: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLMO_WEBHOOK", ADDRESS)
    for _ in range(2):
        found = automations(PROFILE)
        assert len({each.name for each in found}) == 2
        assert ADDRESS not in "".join(each.model_dump_json() for each in found)
    assert [(block["name"], block["overwrite"], block["url"]) for block in saved] == [
        ("olmo-regressions", True, ADDRESS)
    ] * 2
    assert "secret-token" not in saved[0]["shown"]


@pytest.mark.parametrize("value", [None, ""])
def test_webhook_without_an_address_is_refused(
    value: str | None, saved: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OLMO_WEBHOOK", raising=False)
    if value is not None:
        monkeypatch.setenv("OLMO_WEBHOOK", value)
    with pytest.raises(ConfigError) as refused:
        automations(PROFILE)
    assert str(refused.value) == ("profile team: webhook names OLMO_WEBHOOK, which is not set; set it to a URL")
    assert saved == []


@pytest.fixture
def regression(saved: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OLMO_WEBHOOK", ADDRESS)
    return automations(PROFILE)[1]


def matches(trigger: EventTrigger, event: str, resource: str) -> bool:
    """Return whether a trigger that reacts would take an event."""
    happened = Event(event=event, resource=Resource({"prefect.resource.id": resource}))
    return trigger.posture is Posture.Reactive and event in trigger.expect and trigger.match.matches(happened.resource)


@pytest.mark.parametrize(
    ("event", "resource", "posted"),
    [
        (REGRESSION, "olmo.checkpoint.micro.stage1-step125", True),
        (REGRESSION, "prefect.flow-run.1", False),
        ("prefect.flow-run.Failed", "olmo.checkpoint.micro.stage1-step125", False),
    ],
)
def test_only_a_regression_of_a_checkpoint_is_posted(event: str, resource: str, posted: bool, regression: Any) -> None:
    assert matches(regression.trigger, event, resource) is posted
    (action,) = regression.actions
    assert (action.type, action.block_document_id) == ("call-webhook", BLOCK)


def test_each_checkpoint_is_posted_by_itself(regression: Any) -> None:
    assert regression.trigger.for_each == {"prefect.resource.id"}
    assert regression.trigger.threshold == 1


def test_message_is_json_with_the_numbers_of_the_event(regression: Any) -> None:
    from jinja2 import Template

    row = {"checkpoint": "stage1-step125", "against": "stage1-step75", "difference": 0.05, "low": 0.01, "high": 0.09}
    message = json.loads(Template(regression.actions[0].payload).render(event=SimpleNamespace(payload=row)))
    assert message == {
        "text": "stage1-step125 is 0.05 bits per byte worse than stage1-step75 (95 % interval 0.01 to 0.09)"
    }


def test_run_that_ends_in_any_way_is_not_silent() -> None:
    (crashed,) = automations(Profile(name="alone"))
    trigger = cast(EventTrigger, crashed.trigger)
    assert trigger.after == {"prefect.flow-run.heartbeat"}, "runs without heartbeats are not watched"
    ends = ("Completed", "Failed", "Cancelled", "Crashed")
    assert trigger.expect >= {"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ends)}


class Client:
    """A server that keeps automations by id."""

    def __init__(self) -> None:
        self.automations: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []

    def request(self, method: str, path: str, json: Any, path_params: dict[str, str] | None = None) -> Any:
        self.calls.append((method, path))
        if path == "/automations/filter":
            wanted = json["automations"]["name"]["any_"]
            found = [{"id": id_, **each} for id_, each in self.automations.items() if each["name"] in wanted]
            return SimpleNamespace(json=lambda: found)
        id_ = path_params["id"] if path_params else str(len(self.automations))
        assert method == ("PUT" if path_params else "POST")
        self.automations[id_] = json
        return SimpleNamespace(json=lambda: {"id": id_})


def test_registering_again_updates_the_automation_of_that_name() -> None:
    client = Client()
    (crashed,) = automations(Profile(name="alone"))
    other = crashed.model_copy(update={"name": "another"})
    for automation in (crashed, other, crashed.model_copy(update={"description": "new words"})):
        put(cast(SyncPrefectClient, client), automation)
    assert [each["name"] for each in client.automations.values()] == [crashed.name, "another"]
    assert client.automations["0"]["description"] == "new words"
    assert client.calls[-1] == ("PUT", "/automations/{id}")


def test_automation_is_sent_as_json_without_an_owner() -> None:
    client = Client()
    (crashed,) = automations(Profile(name="alone"))
    put(cast(SyncPrefectClient, client), crashed)
    (sent,) = client.automations.values()
    assert json.loads(json.dumps(sent)) == sent
    assert "owner_resource" not in sent
    assert sent["trigger"]["within"] == 75.0
