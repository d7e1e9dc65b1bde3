"""What `olmo run` starts, and what it prints at the end: parts, servers, scores, decision, notes."""

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from flows.cli import run as running
from flows.cli.run import _conclude, _parts, _prefect, run_release
from flows.opening import Opening
from infra.profile import Profile, load_profile
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan
from tasks.workers.failures import EndedError, StepsFailedError


@pytest.mark.parametrize(
    ("only", "start", "parts"),
    [
        (None, None, ["data", "stage1", "stage2", "soup", "evaluate", "publish"]),
        ("stage2", None, ["stage2"]),
        (None, "soup", ["soup", "evaluate", "publish"]),
        (None, "data", ["data", "stage1", "stage2", "soup", "evaluate", "publish"]),
        ("stage1", "soup", ["stage1"]),
    ],
)
def test_parts_are_one_or_all_from_one_on(only: str | None, start: str | None, parts: list[str], plan: Plan) -> None:
    assert _parts(plan, only, start) == parts


@pytest.mark.parametrize(
    ("only", "start", "option"),
    [("stage3", None, "--only stage3"), (None, "train", "--from train"), ("data", "x", "--from x")],
)
def test_unknown_part_is_named_with_those_of_the_recipe(
    only: str | None, start: str | None, option: str, plan: Plan
) -> None:
    with pytest.raises(ConfigError) as refused:
        _parts(plan, only, start)
    parts = "data, stage1, stage2, soup, evaluate, publish"
    assert str(refused.value) == f"{option}: no such part; recipe micro has {parts}"


class Server:
    """A temporary Prefect server that only counts its ends."""

    stopped = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stop(self) -> None:
        Server.stopped += 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> type[Server]:
    monkeypatch.setattr(Server, "stopped", 0)
    monkeypatch.setattr(running, "PrefectServer", Server)
    return Server


def test_temporary_server_stops_after_an_error_too(server: type[Server], tmp_path: Path) -> None:
    profile = Profile(name="here", home=tmp_path)
    with _prefect(profile) as started:
        assert isinstance(started, Server) and server.stopped == 0
    with pytest.raises(StepsFailedError), _prefect(profile):
        raise StepsFailedError("run/stage1")
    assert server.stopped == 2


def test_server_of_the_profile_is_used_with_its_password(server: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/another")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "")
    monkeypatch.setattr(running, "client_environment", lambda _: {"PREFECT_API_AUTH_STRING": "olmo:secret"})
    with _prefect(Profile(name="here", prefect="http://127.0.0.1:4200/api")) as started:
        assert started is None
        assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
        assert os.environ["PREFECT_API_AUTH_STRING"] == "olmo:secret"
    assert server.stopped == 0


class Target:
    repo = "org/micro"

    def published(self) -> dict[str, str]:
        return {"main": "c" * 40}


def session(**values: Any) -> Any:
    found = {"made": [], "reused": [], "notes": [], "target": Target(), "profile": load_profile("laptop"), **values}
    return SimpleNamespace(**found)


STAGES = [
    {"stage": "stage1", "on": "wisdom", "before": None, "after": 2.25, "change": None},
    {"stage": "stage2", "on": "wisdom, narrative", "before": 2.25, "after": 1.8, "change": -0.2},
    {"stage": "stage3", "on": "wisdom", "before": 1.8, "after": 1.8, "change": 0.0},
]
DECISION = {"main": "soup", "reason": "its interval is below zero"}


@pytest.fixture
def conclude(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what the end of a release prints, for given rows of its store."""

    def run(rows: list[dict[str, Any]], as_json: bool = False, decided: Any = DECISION, **values: Any) -> str:
        monkeypatch.setattr(running, "evaluation_rows", lambda *_: rows)
        monkeypatch.setattr(running, "end_rows", lambda _, rows: [row for row in rows if "step" not in row["model"]])
        monkeypatch.setattr(running, "stage_rows", lambda *_: STAGES)
        monkeypatch.setattr(running, "decision", lambda *_: decided)
        out = io.StringIO()
        held = SimpleNamespace(peek=lambda step: SimpleNamespace(digest="d") if step.kind == "soup" else None)
        store = SimpleNamespace(snapshot=lambda: held)
        _conclude(plan, cast(Any, store), session(**values), 75.25, Console(file=out, width=80), as_json)
        return out.getvalue()

    return run


def test_outcome_has_stages_decision_notes_and_how_to_load_a_revision(conclude: Any, tmp_path: Path) -> None:
    note = "MLflow did not accept 3 events: [red]no[/red]"
    profile = Profile(name="here", home=tmp_path)
    lines = conclude([], made=["run/stage1", "soup/soup"], notes=[note], profile=profile).splitlines()
    assert lines == [
        "stage1: 2.2500 bits per byte on held-out wisdom",
        "stage2: 1.8000 bits per byte on held-out wisdom, narrative, -20.0% from 2.2500",
        "stage3: 1.8000 bits per byte on held-out wisdom, +0.0% from 1.8000",
        "main is soup: its interval is below zero",
        note,
        "2 steps made, 0 reused, 1 min 15 s; load any revision with",
        f'  AutoModelForCausalLM.from_pretrained("org/micro", revision="main", cache_dir="{tmp_path}/hub", '
        "local_files_only=True)",
    ]


def test_revision_on_a_hub_needs_no_folder(conclude: Any) -> None:
    profile = load_profile("laptop", ["hub={endpoint: http://127.0.0.1:1}"])
    assert 'from_pretrained("org/micro", revision="main")\n' in conclude([], profile=profile)


def test_run_of_a_part_ends_without_a_revision_to_load(conclude: Any) -> None:
    unpublished = SimpleNamespace(repo="org/micro", published=dict)
    lines = conclude([], decided=None, made=["mix/anneal"], target=unpublished).splitlines()
    assert lines[-1] == "1 step made, 0 reused, 1 min 15 s"


def test_undecided_release_prints_no_decision(conclude: Any) -> None:
    assert "main is" not in conclude([], decided=None)


def test_checkpoints_between_are_counted_not_listed(conclude: Any) -> None:
    ends = [{"model": "stage1", "wisdom": 2.0}, {"model": "soup", "wisdom": 1.0}]
    between = [{"model": f"stage1-step{step}", "wisdom": 3.0} for step in (10, 20, 30)]
    text = conclude([*between, *ends])
    assert "bits per byte of held-out text, and tasks\n" in text
    assert "stage1-step" not in text
    assert "3 other checkpoints: `olmo report micro`, or --json\n" in text
    assert "other checkpoints" not in conclude(ends)


def test_step_reused_after_it_was_made_counts_as_made(conclude: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Each flow meets the steps of those before it again."""
    steps = {"made": ["run/stage1", "mix/stage1"], "reused": ["mix/stage1", "corpus/wisdom", "corpus/wisdom"]}
    assert "2 steps made, 1 reused" in conclude([], **steps)
    conclude([], as_json=True, **steps)
    found = json.loads(capsys.readouterr().out)
    assert (found["made"], found["reused"]) == (["mix/stage1", "run/stage1"], 1)


def test_json_outcome_is_alone_on_standard_output(
    conclude: Any, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    assert conclude([{"model": "soup", "wisdom": 1.0}], as_json=True) == ""
    found = json.loads(capsys.readouterr().out)
    assert (found["release"], found["seconds"], found["decision"]) == (plan.id, 75.2, DECISION)
    assert found["digests"] == {"soup/soup": "d"}, "of the steps that are made"
    assert found["evaluation"] == [{"model": "soup", "wisdom": 1.0}]
    assert found["stages"] == STAGES
    assert found["revisions"] == {"main": "c" * 40}


@pytest.mark.parametrize("todo", [[], ["a step"]])
def test_workers_start_only_if_a_step_has_to_be_made(
    todo: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {"workers": 0}

    def start_workers() -> None:
        seen["workers"] += 1

    @contextmanager
    def open_session(_: Opening, idle: bool) -> Iterator[Any]:
        seen["idle"] = idle
        yield session(start_workers=start_workers)

    opening = SimpleNamespace(
        store=None, held=None, todo=todo, profile=Profile(name="p", home=tmp_path), check=lambda: "a Hub"
    )
    monkeypatch.setattr(running, "prepare", lambda plan, profile, parts, show: opening)
    monkeypatch.setattr(running, "_prefect", contextmanager(lambda _: iter([None])))
    monkeypatch.setattr(running, "verdicts", lambda *_: {})
    monkeypatch.setattr(running, "survey_plan", lambda _opening, _found, _console, goal: seen.update(goal=goal))
    monkeypatch.setattr(running, "print_plan", lambda *_: None)
    monkeypatch.setattr(running, "open_session", open_session)
    monkeypatch.setattr(running, "_run_flow", lambda _s, _p, _c, arguments: seen.update(flow=arguments))
    monkeypatch.setattr(running, "_conclude", lambda *_: None)
    run_release("micro", "laptop", ["release.dtype=float32"], None, "soup", as_json=True)
    assert seen == {
        "workers": len(todo),
        "idle": not todo,
        "goal": "a Hub",
        "flow": ("micro", "laptop", ("release.dtype=float32",), ("soup", "evaluate", "publish")),
    }


def test_ended_release_is_not_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends a release is not asked to make room."""
    monkeypatch.setattr(running, "room", lambda *_: pytest.fail("looked at the disk"))
    with pytest.raises(EndedError), running._naming_full_disk(load_profile("laptop")):
        raise EndedError
