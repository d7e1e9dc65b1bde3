"""What a release would cost: by the profile's figures, then by what records tell."""

from collections.abc import Iterable

import pytest

from olmo_core.artifact.identity import Step
from olmo_core.artifact.record import FileEntry, Record, content_digest
from olmo_core.artifact.source import Code, Environment, Source
from olmo_core.recipe.estimate import DEFAULT_BYTES, START_SECONDS, Estimate, estimate
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.profile import Budget, Profile, load_profile
from olmo_core.recipe.recipe import load_recipe


def record(step: Step, seconds: float) -> Record:
    """The record of a step that took `seconds`; it has no files."""
    environment = Environment(digest="0", python="3", machine="m", cpu="c", zlib="1", packages={})
    return Record(
        kind=step.kind,
        name=step.name,
        version=step.version,
        id=step.id,
        payload=step.payload,
        inputs={},
        files=[],
        result={},
        digest=content_digest(step.kind, [], {}),
        attempt=1,
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:00:00+00:00",
        seconds=seconds,
        host="h",
        code=Code(),
        source=Source(digest="0", modules={}),
        environment=environment,
    )


@pytest.fixture(scope="module")
def plan() -> Plan:
    return lay_out(load_recipe("micro"))


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("laptop", ["--speed={flops_per_second: 1e9, watts: 36}"])


def cost(plan: Plan, steps: Iterable[Step], profile: Profile, records: Iterable[Record] = ()) -> Estimate:
    return estimate(plan, list(steps), records, profile)


def test_nothing_to_do_costs_nothing(plan: Plan, profile: Profile) -> None:
    assert cost(plan, [], profile) == Estimate(0, 0, 0.0, 0.0, 0.0, 0)


def test_tokens_and_flops_are_those_of_the_runs_to_make(plan: Plan, profile: Profile) -> None:
    """micro by hand: 2 blocks of 4 x 64 x 64 + 3 x 64 x 192, a head of 1024 x 64; six per weight, attention's half."""
    per_token = 6 * (2 * (4 * 64 * 64 + 3 * 64 * 192) + 1024 * 64) + 6 * 2 * 64 * 64
    everything = cost(plan, plan.steps, profile)
    assert everything.steps == len(plan.steps)
    assert everything.tokens == 64_000 + 2 * 16_000
    assert everything.flops == everything.tokens * per_token
    one = cost(plan, [plan.step("run/stage2-ingredient1")], profile)
    assert (one.tokens, one.flops) == (16_000, 16_000 * per_token)


def test_without_records_the_profile_tells(plan: Plan, profile: Profile) -> None:
    run = plan.step("run/stage1")
    found = cost(plan, [run], profile)
    assert found.minutes * 60 == pytest.approx(START_SECONDS + found.flops / 1e9)
    assert found.kwh == pytest.approx(36 * found.minutes * 60 / 3.6e6)


def test_a_record_of_the_same_model_tells_better(plan: Plan, profile: Profile) -> None:
    """Stage 1 was trained at 640 tokens a second; each run of stage 2 then takes 25 s, side by side."""
    stage1, one, two = (plan.step(f"run/{name}") for name in ("stage1", "stage2-ingredient1", "stage2-ingredient2"))
    found = cost(plan, [one, two], profile, [record(stage1, 100.0)])
    assert found.minutes * 60 == pytest.approx(START_SECONDS + 25)


def test_a_record_of_another_model_tells_nothing(plan: Plan, profile: Profile) -> None:
    other = lay_out(load_recipe("micro", ["--model.n_layers=1"])).step("run/stage1")
    run = [plan.step("run/stage1")]
    assert cost(plan, run, profile, [record(other, 1.0)]) == cost(plan, run, profile)


def test_other_steps_take_what_their_like_took(plan: Plan, profile: Profile) -> None:
    corpus = plan.step("corpus/wisdom")
    by_name = [record(corpus, 40.0), record(plan.step("corpus/narrative"), 2.0)]
    assert cost(plan, [corpus], profile, by_name).minutes * 60 == pytest.approx(START_SECONDS + 40)
    by_kind = [record(plan.step("corpus/narrative"), 2.0)]
    assert cost(plan, [corpus], profile, by_kind).minutes * 60 == pytest.approx(START_SECONDS + 2)


def test_bytes_of_what_holds_weights_follow_from_the_model(plan: Plan, profile: Profile) -> None:
    """A checkpoint has weights and two moments in fp32; a revision is linked in the store, copied to a local hub."""
    weights = 4 * plan.recipe.shape.parameters
    for label, expected in (
        ("checkpoint/stage1-step75", 3 * weights),
        ("soup/soup", weights),
        ("export/soup", weights),
        ("revision/main", weights),
    ):
        assert cost(plan, [plan.step(label)], profile).bytes == expected, label
    hub = profile.model_copy(update={"hub": profile.hub.model_copy(update={"endpoint": "https://hub.example"})})
    assert cost(plan, [plan.step("revision/main")], hub).bytes == 0
    half = lay_out(load_recipe("micro", ["--release.dtype=bfloat16"]))
    assert cost(half, [half.step("export/soup")], profile).bytes == weights / 2


def test_bytes_of_others_are_those_of_their_like(plan: Plan, profile: Profile) -> None:
    corpus, other = plan.step("corpus/wisdom"), plan.step("corpus/narrative")
    files = [FileEntry(path="text", size=700, sha256="0"), FileEntry(path="more", size=50, sha256="0")]
    told = record(other, 2.0).model_copy(update={"files": files})
    assert cost(plan, [corpus], profile, [told]).bytes == 750
    assert cost(plan, [corpus], profile).bytes == DEFAULT_BYTES["corpus"]


def test_every_kind_of_step_has_a_prediction(profile: Profile) -> None:
    tiny = lay_out(load_recipe("tiny"))
    for step in tiny.steps:
        assert cost(tiny, [step], profile).minutes > 0


def test_what_is_above_the_budget_is_said() -> None:
    spent = Estimate(steps=3, tokens=10, flops=2e12, minutes=90.0, kwh=0.5, bytes=0)
    assert spent.over(Budget()) == []
    assert spent.over(Budget(minutes=90, kwh=0.5, flops=int(2e12))) == []
    assert spent.over(Budget(minutes=60, kwh=1, flops=10**12)) == [
        "minutes 90 is above the profile's budget of 60",
        "flops 2e+12 is above the profile's budget of 1e+12",
    ]
