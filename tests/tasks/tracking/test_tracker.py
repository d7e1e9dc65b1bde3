"""The notes at the end of a run about events that MLflow did not accept."""

from types import SimpleNamespace

import pytest

from infra.profile import Profile
from tasks.tracking import tracker as tracking
from tasks.tracking.tracker import Tracking

TROUBLE = "MlflowException: no; set MLFLOW_TRACKING_USERNAME"


@pytest.mark.parametrize(
    ("left", "trouble", "refused", "notes"),
    [
        (0, "", [], []),
        (3, "", [], []),
        (3, TROUBLE, [], [f"MLflow did not accept 3 events: {TROUBLE}; they stay in HOME/outbox for the next run"]),
        (0, "", ["a: step -1"], ["MLflow refused 1 events permanently, the last: a: step -1"]),
    ],
)
def test_close_reports_events_that_were_not_accepted(left, trouble, refused, notes, tmp_path, monkeypatch):
    handle = SimpleNamespace(
        drain=lambda _: left, trouble=lambda: trouble, refused=lambda: refused, stop=lambda _: None
    )  # fmt: skip
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    monkeypatch.setattr(tracking, "start_sender", lambda *_: handle)
    (tmp_path / "outbox").mkdir()
    plan = SimpleNamespace(id="r1", recipe=SimpleNamespace(name="tiny"))
    opened = Tracking(Profile(name="here"), plan, idle=False)
    opened.outbox.close()
    assert opened.close(ended=False) == [note.replace("HOME", str(tmp_path)) for note in notes]
