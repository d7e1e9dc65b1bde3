"""A Hub that asks for pauses is obeyed, visibly, and not for ever."""

from types import SimpleNamespace

import pytest

from olmo_core.artifact.identity import Step
from olmo_core.hub.publication import Publication
from olmo_core.hub.target import PauseError
from tasks.revisions import PAUSES, _shown

REVISION = Step("revision", "main", 1, {}, {}, "tiny_release:make_soup")


def session(pauses):
    """One whose Hub asks for so many pauses."""
    asked, waited = iter([1800.0] * pauses), []

    def publish(*_):
        for seconds in asked:
            raise PauseError(seconds)
        return Publication("main", "c" * 40, reused=False)

    return SimpleNamespace(publish=publish, pause=lambda *said: waited.append(said)), waited


def test_pauses_are_waited_out_and_publishing_goes_on():
    hub, waited = session(2)
    assert _shown(hub, REVISION, REVISION).commit == "c" * 40
    assert waited == [("publish main", 1800.0)] * 2


def test_a_hub_that_asks_for_ever_is_an_error():
    hub, waited = session(100)
    with pytest.raises(PauseError, match="asks for a pause of 1800 s; run it again then"):
        _shown(hub, REVISION, REVISION)
    assert len(waited) == PAUSES
