"""What is listened for: a run that fell silent is marked as crashed, a regression is sent on.

Prefect's own server does neither by itself.
"""

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from olmo_core.recipe.profile import Profile

SILENCE = timedelta(seconds=75)  # heartbeats come every 30 s, and one may be late
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Cached")


def automations(profile: Profile) -> list[AutomationCore]:
    """Return the automations of a profile."""
    return [_crashed()]


def put(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Create an automation, or bring the one of that name to this form."""
    answer = client.request("POST", "/automations/filter", json={"automations": {"name": {"any_": [automation.name]}}})
    there = answer.json()
    body = automation.model_dump(mode="json")
    if not there:
        client.request("POST", "/automations/", json=body)
        return
    client.request("PUT", f"/automations/{there[0]['id']}", json=body)


def _crashed() -> AutomationCore:
    run = "prefect.resource.id"
    heartbeat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name="A run that fell silent has crashed",
        description=f"Its process sent no heartbeat for {SILENCE.seconds} s: worker or machine are gone. Run it again: "
        "what was committed is reused.",
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
