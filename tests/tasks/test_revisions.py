"""Pauses that a Hub asks for: they are waited for, shown, and limited in number."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from olmo_core.artifact.identity import Step
from olmo_core.hub.publication import Publication
from olmo_core.hub.target import PauseError
from tasks import revisions
from tasks.revisions import PAUSES, _published

STEP = Step("revision", "main", 1)
REVISION: Any = SimpleNamespace(step=STEP)  # the artifact; its files are not read here


class Hub:
    """A fake session: its target has the publication `there`, and its workers' Hub asks for `pauses` pauses."""

    def __init__(self, pauses: int, there: Publication | None = None) -> None:
        self.waited: list[tuple[str, float]] = []
        self.there = there
        self.target = None
        self._pauses: Iterator[float] = iter([1800.0] * pauses)

    @property
    def workers(self) -> Any:
        assert self.there is None, "a published revision needs no workers"
        return SimpleNamespace(publish_remotely=self._publish)

    def pause(self, label: str, seconds: float) -> None:
        self.waited.append((label, seconds))

    def _publish(self, *_: object) -> Publication:
        for seconds in self._pauses:
            raise PauseError(seconds)
        return Publication("main", "c" * 40, reused=False)


def published(hub: Any, monkeypatch: pytest.MonkeyPatch) -> Publication:
    monkeypatch.setattr(revisions, "RevisionFiles", SimpleNamespace(of=lambda _: None))
    monkeypatch.setattr(revisions, "find_publication", lambda *_: hub.there)
    return _published(hub, REVISION, STEP)


def test_publishing_continues_after_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(2)
    assert published(hub, monkeypatch).commit == "c" * 40
    assert hub.waited == [("publish main", 1800.0)] * 2


def test_endless_pauses_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(100)
    with pytest.raises(PauseError, match="asks for a pause of 1800 s; run it again then"):
        published(hub, monkeypatch)
    assert len(hub.waited) == PAUSES


def test_published_revision_starts_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Publication("main", "c" * 40, reused=True)
    assert published(Hub(0, there), monkeypatch) is there
