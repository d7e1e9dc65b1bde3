"""`olmo plan` from its arguments to its rows: what is read, what is measured, and what is refused first."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from report_world import commit
from rich.console import Console

from flows.cli import plan as planning
from flows.cli.plan import machine_of, survey
from flows.opening import open_store
from infra.profile import Profile, load_profile
from olmo_core.recipe.machine import Machine
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.plan import Plan

MACHINE = Machine("a CPU", 2, {"bf16": 60e9, "fp32": 60e9})
GPUS = "{count: 8, cpus: 1, gpus: 1, placement: {device: cuda}}"


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path))
    return load_profile("laptop")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what was asked of the machine: `known` or `measured`."""
    asked: list[str] = []
    monkeypatch.setattr(planning, "known_machine", lambda *_: asked.append("known"))
    monkeypatch.setattr(planning, "measured_machine", lambda *_: asked.append("measured") or MACHINE)
    return asked


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_survey_of_an_empty_store_runs_everything(plan: Plan, profile: Profile, measured: list[str]) -> None:
    found = survey("micro", "laptop", [], False, quiet())
    assert {row["action"] for row in found["steps"]} == {"run"}
    assert (found["recipe"], found["release"], found["profile"]) == ("micro", plan.id, "laptop")
    assert found["revisions_go_to"] == f"the folder {profile.folder}/hub/models--olmo-release--micro"
    assert found["predicted"]["minutes"] > 0, "by the speed of the machine"
    assert measured == ["known", "measured"]


def test_steps_of_the_store_of_the_profile_are_reused(plan: Plan, profile: Profile, measured: list[str]) -> None:
    store = open_store(profile)
    made = list(plan.tokenizer.closure())
    for step in made:
        commit(plan, store, step)
    found = survey("micro", "laptop", [], False, quiet())
    assert [row["step"] for row in found["steps"] if row["action"] == "reuse"] == [step.label for step in made]
    rows = {row["part"]: (row["run"], row["reused"]) for row in found["parts"]}
    assert rows["data"] == (len(plan.steps_of("data")) - len(made), len(made))


def test_invalid_input_is_refused_before_the_machine_is_measured(profile: Profile, measured: list[str]) -> None:
    for recipe, overrides, message in (
        ("mikro", [], "did you mean 'micro'"),
        ("micro", ["stages.stage1.tokns=5"], r"stages\.stage1\.tokns.*tokens"),
        ("micro", ["stages.stage2.start=stage9"], "stage9"),
        ("micro", ["stages.stage1.precision=float8"], r"^stages\.stage1 on training\.single of profile laptop: "),
    ):
        with pytest.raises(ConfigError, match=message):
            survey(recipe, "laptop", overrides, False, quiet())
    assert measured == []


def test_budget_of_the_profile_is_compared_with_the_prediction(
    profile: Profile, measured: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "poor.yaml"
    path.write_text("budget: {minutes: 0.01, flops: 1}\n")
    over = survey("micro", str(path), [], False, quiet())["over_budget"]
    assert [each.partition(", but the profile's budget is ")[2] for each in over] == ["1 s", "1.0e00 FLOPs"]
    assert survey("micro", "laptop", [], False, quiet())["over_budget"] == []


def test_complete_release_needs_no_machine_and_no_records(
    plan: Plan, profile: Profile, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hit = SimpleNamespace(hit=True, reason="complete", differences=[], code_changed=[])
    held = SimpleNamespace(records=lambda: pytest.fail("read all records"))
    store: Any = SimpleNamespace(snapshot=lambda: held)
    monkeypatch.setattr(planning, "verdicts", lambda *_: {step.id: hit for step in plan.steps})
    monkeypatch.setattr(planning, "open_store", lambda _: store)
    found = survey("micro", "laptop", [], False, quiet())
    assert measured == []
    assert (found["predicted"]["steps"], found["predicted"]["minutes"]) == (0, 0.0)


@pytest.mark.parametrize(
    ("overrides", "asked"),
    [
        ([f"training={{single: {GPUS}, seeds: {GPUS}}}", "placement={device: cuda}"], []),
        ([f"training={{single: {GPUS}, seeds: {GPUS}}}"], ["known", "measured"]),  # it evaluates on the CPU
        ([f"training={{single: {GPUS}}}", "placement={device: cuda}"], ["known", "measured"]),  # the seeds are on it
        ([], ["known", "measured"]),
    ],
)
def test_machine_is_measured_unless_all_work_is_on_gpus(
    overrides: list[str], asked: list[str], plan: Plan, measured: list[str]
) -> None:
    assert machine_of(plan, load_profile("laptop", overrides), quiet()) == (MACHINE if asked else None)
    assert measured == asked


def test_known_machine_is_not_measured_again(
    plan: Plan, profile: Profile, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "known_machine", lambda *_: MACHINE)
    assert machine_of(plan, profile, quiet()) is MACHINE
    assert measured == []
