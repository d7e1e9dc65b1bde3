"""A plan fits on one screen for every recipe: 40 lines of 80 columns, numbers with units, each reason once."""

import io
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import pytest
from rich.console import Console

from flows.cli import plan as planning
from flows.cli.plan import print_plan, print_steps, survey_plan
from flows.opening import Opening
from infra.profile import Profile, load_profile
from olmo_core.artifact.identity import Step
from olmo_core.artifact.record import Input, Record
from olmo_core.artifact.source import Source, environment, source_of
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.machine import Machine
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import BUILTIN, load_recipe
from olmo_core.report.tables import verdicts

MACHINE = Machine("a CPU", 2, {"bf16": 60e9, "fp32": 60e9})
GPUS = "{count: 256, cpus: 8, gpus: 1, placement: {device: cuda}}"
CLUSTER = ["ray={address: auto}", f"training={{single: {GPUS}, seeds: {GPUS}}}", "placement={device: cuda}"]


class Made:
    """Stands for a store with complete artifacts of these steps."""

    def __init__(self, steps: Iterable[Step] = (), modules: dict[str, str] | None = None) -> None:
        self._records = {step.id: _record(step, modules) for step in steps}

    def snapshot(self) -> "Made":
        return self

    def peek(self, step: Step) -> Record | None:
        return self._records.get(step.id)

    def problem(self, step: Step) -> str:
        return ""

    def records(self, kind: str | None = None) -> Iterator[Record]:
        return (record for record in self._records.values() if kind in (None, record.kind))


source = cache(source_of)


def _record(step: Step, modules: dict[str, str] | None) -> Record:
    now = source(step.work) if step.work else Source(digest="", modules={})
    return Record.model_construct(
        kind=step.kind,
        name=step.name,
        id=step.id,
        payload=step.payload,
        inputs={
            role: Input.model_construct(kind=each.kind, name=each.name, id=each.id, digest=None)
            for role, each in step.inputs.items()
        },
        files=[],
        seconds=10.0,
        environment=environment(),
        source=now if modules is None else Source(digest="", modules={**now.modules, **modules}),
    )


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "machine_of", lambda *_: MACHINE)


def found(plan: Plan, store: Any, profile: Profile | None = None, parts: tuple[str, ...] = ()) -> dict[str, Any]:
    opening = Opening(plan, profile or load_profile("laptop"), store, parts or plan.parts)
    return survey_plan(opening, verdicts(plan, store), Console(file=io.StringIO()))


def printed(survey: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=80)
    print_plan(console, survey)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def fits(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) <= 40 and max(map(len, lines)) <= 80


@pytest.mark.parametrize("recipe", sorted(path.stem for path in BUILTIN.glob("*.yaml")))
def test_plan_fits_on_one_screen(recipe: str) -> None:
    plan = lay_out(load_recipe(recipe))
    for made in (plan.steps[:0], plan.steps[: len(plan.steps) // 2]):
        survey = found(plan, Made(made))
        text = printed(survey)
        assert fits(text), text
        assert not re.search(r"\d{6}(?![0-9a-f]*\))|e\+", text.partition("\n")[2]), f"numbers have units:\n{text}"
        total = next(line.split() for line in text.splitlines() if line.startswith("total"))
        assert [int(each.replace(",", "")) for each in total[1:3]] == [len(plan.steps) - len(made), len(made)]
        assert text.count("no record") == 1, "each reason once"


def test_plan_with_many_stages_and_reasons_fits_on_one_screen() -> None:
    plan = lay_out(load_recipe("micro"))
    survey = found(plan, Made())
    row = next(row for row in survey["parts"] if row["part"] == "stage1")
    stages = [{**row, "part": f"stage{number}"} for number in range(1, 31)]
    survey["parts"] = [survey["parts"][0], *stages, *survey["parts"][3:]]
    survey["reasons"] = [{**survey["reasons"][0], "text": f"reason {n}", "parts": ["data"]} for n in range(50)]
    text = printed(survey)
    assert fits(text), text
    assert re.search(rf"^22 stages +{22 * row['run']} ", text, re.M)
    assert re.findall(r"^(stage\d+|publish)", text, re.M) == [*(f"stage{n}" for n in range(1, 8)), "stage30", "publish"]
    assert "and 44 more reasons: `olmo plan micro --steps`" in text


def test_changed_field_is_shown_once_with_both_values() -> None:
    before = lay_out(load_recipe("micro"))
    plan = lay_out(load_recipe("micro", ["--stages.stage2.seeds=[42,7]"]))
    text = " ".join(printed(found(plan, Made(before.steps))).split())
    assert "seed changed: 7, was 42069 (run/stage2-ingredient2): 14 steps of stage2, soup, evaluate, publish" in text
    assert text.count("42069") == 1


def test_changed_code_is_shown_for_reused_steps() -> None:
    plan = lay_out(load_recipe("micro"))
    text = printed(found(plan, Made(plan.steps, {"olmo_core.other": "0"})))
    assert text.startswith(f"micro ({plan.id[:12]}), profile laptop: nothing to run, 45 steps reused\n")
    assert "code changed since: 41 steps reused, which `--strict-code` would rebuild" in " ".join(text.split())


@pytest.fixture(scope="module")
def large() -> Plan:
    return lay_out(load_recipe("olmo2-7b"))


def test_gpu_time_needs_speed_in_profile(large: Plan) -> None:
    unknown = found(large, Made(), load_profile("laptop", CLUSTER))
    assert (unknown["predicted"]["minutes"], unknown["predicted"]["kwh"]) == (None, None)
    text = " ".join(printed(unknown).split())
    assert "time: not known for a GPU of another machine; set `speed: {flops_per_second: ...}` in the profile" in text
    known = printed(found(large, Made(), load_profile("laptop", [*CLUSTER, "speed={flops_per_second: 4.45e14}"])))
    assert re.search(r"^stage1 +930 +0 +3\.9T +1\.7e23 +18 days +- ", known, re.M)
    assert "time of stage1: 256 GPUs by the profile" in known


def test_time_over_100_years_is_not_a_number(large: Plan) -> None:
    text = printed(found(large, Made()))
    assert re.search(r"^total .* over 100 years +- ", text, re.M)
    assert "over budget: over 100 years, but the profile's budget is 60 min" in text


def test_only_chosen_parts_are_counted() -> None:
    plan = lay_out(load_recipe("micro"))
    survey = found(plan, Made(), parts=("data", "soup"))
    assert [row["part"] for row in survey["parts"]] == ["data", "soup"]
    assert survey["predicted"]["steps"] == len(plan.steps_of("data")) + len(plan.steps_of("soup"))


def test_json_plan_has_every_step() -> None:
    plan = lay_out(load_recipe("micro"))
    survey = found(plan, Made())
    assert survey.keys() >= {"recipe", "release", "profile", "steps", "predicted", "over_budget"}
    assert survey["predicted"].keys() >= {"steps", "tokens", "flops", "minutes", "kwh", "bytes"}
    assert [row.keys() for row in survey["steps"]] == [{"step", "id", "action", "why"}] * len(plan.steps)
    console = Console(file=io.StringIO(), width=80)
    print_steps(console, survey)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "run    documents/narrative-00000: no documents was ever made in this store"
    assert len(lines) == len(plan.steps)


def test_plan_names_where_revisions_go_only_if_it_publishes() -> None:
    plan = lay_out(load_recipe("micro"))
    assert "revisions go to" in printed(found(plan, Made()))
    assert "revisions go to" not in printed(found(plan, Made(), parts=("data", "stage1")))
