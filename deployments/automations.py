"""Automations: a run without heartbeat is marked as crashed, and a regression is posted to a webhook.

Prefect's server does neither by default.
"""

import os
from datetime import timedelta
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from pydantic import SecretStr

from flows.nightly import REGRESSION
from infra.profile import Profile
from olmo_core.recipe.overrides import ConfigError

SILENCE = timedelta(seconds=75)  # heartbeats come every 30 s, and one may be late
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Cached")


def automations(profile: Profile) -> list[AutomationCore]:
    """Return the automations of a profile; Prefect stores the address of the webhook encrypted.

    Raises:
        ConfigError: the environment variable with the address of the webhook is not set.
    """
    if profile.webhook is None:
        return [_crashed()]
    address = os.environ.get(profile.webhook)
    if not address:
        raise ConfigError(f"profile {profile.name}: webhook names {profile.webhook}, which is not set; set it to a URL")
    block = Webhook(method="POST", url=SecretStr(address))
    return [_crashed(), _regression(UUID(str(block.save("olmo-regressions", overwrite=True))))]


def put(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Create an automation, or update the one of that name."""
    answer = client.request("POST", "/automations/filter", json={"automations": {"name": {"any_": [automation.name]}}})
    there = answer.json()
    body = automation.model_dump(mode="json", exclude={"owner_resource"})
    if there:
        client.request("PUT", "/automations/{id}", path_params={"id": there[0]["id"]}, json=body)
    else:
        client.request("POST", "/automations/", json=body)


def _crashed() -> AutomationCore:
    run = "prefect.resource.id"
    heartbeat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name="Mark a run without heartbeat as crashed",
        description=f"Its process sent no heartbeat for {SILENCE.seconds} s: its worker or machine is gone. Run it "
        "again; committed artifacts are reused.",
        trigger=EventTrigger(
            match=ResourceSpecification({run: ["prefect.flow-run.*"]}),
            for_each={run},
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{state}" for state in _ENDS)},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="no heartbeat: its worker or machine is gone")],
    )


def _regression(webhook: UUID) -> AutomationCore:
    checkpoint = "prefect.resource.id"
    return AutomationCore(
        name="Post a regression of a checkpoint to the webhook",
        description="Held-out text is worse than at the previous checkpoint, by more than the confidence interval.",
        trigger=EventTrigger(
            match=ResourceSpecification({checkpoint: ["olmo.checkpoint.*"]}),
            for_each={checkpoint},
            expect={REGRESSION},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[CallWebhook(block_document_id=webhook, payload=_MESSAGE)],
    )


# JSON with the fields of the event; Prefect renders the template.
_MESSAGE = """{
  "text": "{{ event.payload.checkpoint }} is {{ event.payload.difference }} bits per byte worse than \
{{ event.payload.against }} (95 % interval {{ event.payload.low }} to {{ event.payload.high }})"
}"""
