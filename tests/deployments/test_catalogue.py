import re
from pathlib import Path

import pytest

from deployments.automations import SILENCE, automations
from deployments.catalogue import catalogue
from flows.release import stage_flow
from infra.profile import load_profile
from olmo_core.recipe.overrides import ConfigError
from olmo_core.recipe.recipe import load_recipe

LAPTOP = load_profile("laptop")


def test_every_part_is_deployed_by_name() -> None:
    found = {each.full_name: each for each in catalogue("micro", "laptop", LAPTOP)}
    parts = ["release", "data", "pretrain", "anneal", "soup", "publish", "evaluate", "nightly-evals"]
    assert list(found) == [f"{part}/micro" for part in parts]
    assert found["pretrain/micro"].parameters == {"recipe": "micro", "profile": "laptop", "stage": "stage1"}
    assert found["anneal/micro"].parameters["stage"] == "stage2"
    assert all(each.concurrency_limit == 1 for each in found.values())


def test_additional_stages_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    found = catalogue("./three-stages.yaml", "laptop", LAPTOP)
    path = Path(__file__).with_name("three-stages.yaml")
    assert {each.parameters["recipe"] for each in found} == {str(path)}, "a worker runs in another folder"
    names = [each.full_name for each in found]
    assert [name.partition("/")[0] for name in names[2:5]] == ["pretrain", "stage2", "longer"]


def test_form_fields_have_descriptions() -> None:
    for each in catalogue("micro", "laptop", LAPTOP):
        fields = each._parameter_openapi_schema.model_dump()["properties"]
        assert all(field.get("description") for field in fields.values()), each.full_name
        assert "Args:" not in str(each.description)


def test_form_refuses_override_without_value() -> None:
    for each in catalogue("micro", "laptop", LAPTOP):
        pattern = each._parameter_openapi_schema.model_dump()["properties"]["overrides"]["items"]["pattern"]
        assert re.search(pattern, "stages.stage1.tokens=2e6")
        assert not re.search(pattern, "stages.stage1.tokens") and not re.search(pattern, "=2e6")


def test_release_uses_deployed_stage_flows() -> None:
    recipe = load_recipe("micro")
    assert [stage_flow(recipe, name).name for name in recipe.stages] == ["pretrain", "anneal"]


def test_schedules_come_from_profile() -> None:
    profile = LAPTOP.model_copy(update={"schedules": {"evaluate": "30 1 * * 6"}})
    found = {each.full_name: each.schedules or [] for each in catalogue("micro", "laptop", profile)}
    assert [schedule.schedule.cron for schedule in found["evaluate/micro"]] == ["30 1 * * 6"]  # type: ignore[union-attr]
    assert found["nightly-evals/micro"] == []


def test_profile_repositories_have_nightly_deployments() -> None:
    profile = LAPTOP.model_copy(update={"repositories": {"Org/OLMo-2": "stage2-*"}})
    *_, found = catalogue("micro", "laptop", profile)
    assert found.full_name == "nightly-evals/micro-org-olmo-2"
    given = {"recipe": "micro", "profile": "laptop", "repository": "Org/OLMo-2", "revisions": "stage2-*"}
    assert found.parameters == given
    assert [each.schedule.cron for each in found.schedules or []] == ["0 3 * * *"]  # type: ignore[union-attr]
    assert "Org/OLMo-2" in str(found.description)


def test_invalid_schedule_or_recipe_is_refused_before_registration() -> None:
    profile = LAPTOP.model_copy(update={"schedules": {"nightly": "0 3 * * *"}})
    with pytest.raises(ConfigError, match=r"schedules\.nightly: no such deployment; there are release, data"):
        catalogue("micro", "laptop", profile)
    with pytest.raises(ConfigError, match="did you mean 'micro'"):
        catalogue("mikro", "laptop", LAPTOP)


def test_silent_run_is_crashed_within_documented_time() -> None:
    (crashed,) = automations(LAPTOP)
    heartbeats = 30
    assert heartbeats * 2 < SILENCE.total_seconds() <= 90 - 10, "one heartbeat may be late; the server looks every 5 s"
    assert crashed.trigger.model_dump()["within"] == SILENCE
