"""The official recipes compared with the published runs: model cards, names of revisions, configs of the anneals.

The numbers here are copied from the publications, not computed from the recipes.
"""

from collections.abc import Callable
from functools import cache

import pytest

from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.plan import Plan, Run
from olmo_core.recipe.recipe import load_recipe
from olmo_core.train.schedule import learning_rate

# Recipe: parameters, sequences per step, tokens per sequence; of stage 1: steps, seed, tokens, rate of its last step.
STAGE1 = {
    "olmo2-1b": (1_484_916_736, 512, 4096, 1_907_359, 6198, 4.000e12, 7.4487e-5),
    "olmo2-7b": (7_298_617_344, 1024, 4096, 928_646, 6198, 3.895e12, 6.1351e-5),
    "olmo2-13b": (13_716_198_400, 2048, 4096, 596_057, 6198, 5.000e12, 9.0e-5),
    "olmo2-32b": (32_234_279_936, 2048, 4096, 721_901, 34521, 6.056e12, 6.62e-5),
    "olmo1-1b": (1_176_764_416, 2048, 2048, 738_020, 6198, 3.095e12, 4.0e-5),
    "olmo1-7b": (6_888_095_744, 2160, 2048, 556_000, 6198, 2.460e12, 3.0e-5),
    "olmo1-7b-twin": (6_888_095_744, 2160, 2048, 456_000, 6198, 2.017e12, 3.0e-5),
}

# Recipe: runs of stage 2 as (seed, steps, requested tokens), its first rate, number of steps at rate zero at the end.
STAGE2 = {
    "olmo2-1b": ([(42069, 23852, 50e9), (666, 23852, 50e9), (42, 23852, 50e9)], 7.4487e-5, 11),
    "olmo2-7b": ([(42, 11931, 50e9), (42069, 11931, 50e9), (666, 11931, 50e9)], 6.1499e-5, 11),
    "olmo2-13b": ([(1110, 11931, 1e11), (2662, 11931, 1e11), (6209, 11931, 1e11), (2662, 35773, 3e11)], 9e-5, 11),
    "olmo2-32b": ([(1110, 11921, 1e11), (2662, 11921, 1e11), (2662, 35763, 3e11)], 6.62e-5, 1),
}

# Branches of the repositories on the Hub.
REVISIONS = {
    "olmo2-1b": [
        "stage1-step20000-tokens42B", "stage1-step760000-tokens1594B", "stage1-step1907359-tokens4001B",
        "stage2-ingredient1-step23852-tokens51B", "stage2-ingredient3-step23852-tokens51B",
    ],
    "olmo2-7b": [
        "stage1-step1000-tokens5B", "stage1-step239000-tokens1003B", "stage1-step477000-tokens2001B",
        "stage1-step928000-tokens3893B", "stage1-step928646-tokens3896B",
        "stage2-ingredient1-step11931-tokens50B", "stage2-ingredient3-step11931-tokens50B",
    ],
    "olmo2-13b": [
        "stage1-step1000-tokens9B", "stage1-step596057-tokens5001B",
        "stage2-ingredient3-step11931-tokens100B", "stage2-ingredient4-step35773-tokens300B",
    ],
    "olmo2-32b": [
        "stage1-step208000-tokens1745B", "stage1-step467000-tokens3918B", "stage1-step721901-tokens6056B",
        "stage2-ingredient1-step11921-tokens101B", "stage2-ingredient3-step35763-tokens301B",
    ],
    "olmo1-1b": ["step1000-tokens4B", "step20000-tokens84B", "step734000-tokens3079B", "step738020-tokens3095B"],
    "olmo1-7b": [
        "step1000-tokens4B", "step452000-tokens2000B", "step465000-tokens2057B", "step556000-tokens2460B",
        "step557000-tokens2464B",
    ],
    "olmo1-7b-twin": ["step1000-tokens4B", "step456000-tokens2017B"],
}  # fmt: skip

# What may become main: the soup and its ingredients, or what the release chose.
MAIN = {
    "olmo2-1b": ["stage2-ingredient3-step23852"],
    "olmo2-7b": ["soup", *(f"stage2-ingredient{k}-step11931" for k in (1, 2, 3))],
    "olmo2-13b": ["soup", *(f"stage2-ingredient{k}-step11931" for k in (1, 2, 3)), "stage2-ingredient4-step35773"],
    "olmo2-32b": ["soup", *(f"stage2-ingredient{k}-step11921" for k in (1, 2)), "stage2-ingredient3-step35763"],
    "olmo1-1b": ["stage1-step738020"],
    "olmo1-7b": ["anneal-step1000"],
    "olmo1-7b-twin": ["stage1-step456000"],
}


@cache
def plan_of(name: str) -> Plan:
    return lay_out(load_recipe(name))


def rate_of(run: Run, start: Run | None = None) -> Callable[[int], float]:
    """Return a function from a step of a run, from 1, to its rate."""
    config, peak = run.config, run.config.schedule.peak
    if peak == "inherit":
        assert start is not None
        peak = rate_of(start)(start.config.steps)
    assert isinstance(peak, float)
    return lambda step: learning_rate(config.schedule, peak, config.scheduled(step), config.scheduled(config.steps))


@pytest.mark.parametrize("name", STAGE1)
def test_stage1_matches_published_run(name: str) -> None:
    parameters, batch, length, steps, seed, tokens, last_rate = STAGE1[name]
    plan = plan_of(name)
    (run,) = plan.runs["stage1"]
    config = run.config
    assert plan.recipe.shape.parameters == parameters
    assert (config.batch_size, config.sequence_length) == (batch, length)
    assert (config.steps, config.seed) == (steps, seed)
    assert config.steps * config.batch_tokens == config.tokens == pytest.approx(tokens, rel=5e-4)
    assert rate_of(run)(steps) == pytest.approx(last_rate, rel=1e-3 if last_rate == 6.62e-5 else 1e-4)
    assert config.z_loss == {"olmo2-32b": 1e-5}.get(name, 1e-4 if name.startswith("olmo2") else 0)
    assert run.end.name == f"stage1-step{steps}"


@pytest.mark.parametrize("name", STAGE2)
def test_anneals_match_published_runs(name: str) -> None:
    published, first_rate, zeros = STAGE2[name]
    plan = plan_of(name)
    (start,) = plan.runs["stage1"]
    runs = plan.runs["stage2"]
    assert [(run.seed, run.config.steps) for run in runs] == [(seed, steps) for seed, steps, _ in published]
    for run, (_, steps, asked) in zip(runs, published, strict=True):
        rate, batch = rate_of(run, start), run.config.batch_tokens
        assert run.step.inputs["start"].id == start.end.id
        assert rate(1) == pytest.approx(first_rate * (1 - 1 / (steps - zeros + 1)), rel=1e-3)
        # The rate is zero from the step that completes the requested tokens.
        assert rate(steps - zeros) > 0
        assert [rate(step) for step in range(steps - zeros + 1, steps + 1)] == [0.0] * zeros
        assert (steps - zeros) * batch < asked <= (steps - zeros + 1) * batch


def test_first_rate_of_anneals() -> None:
    """The 7B starts at the rate of its last full checkpoint, the others at that of the weights they start from."""
    for name, step, rate in (("olmo2-7b", 928_000, "6.1499e-05"), ("olmo2-1b", 1_907_359, "7.4487e-05")):
        (run,) = plan_of(name).runs["stage1"]
        assert f"{rate_of(run)(step):.5g}" == rate
        assert plan_of(name).recipe.stages["stage2"].schedule.peak == float(rate)
    (run,) = plan_of("olmo2-13b").runs["stage1"]
    assert rate_of(run)(596_057) == plan_of("olmo2-13b").recipe.stages["stage2"].schedule.peak


@pytest.mark.parametrize("name", REVISIONS)
def test_revision_names_match_published_ones(name: str) -> None:
    assert {*REVISIONS[name], "main"} <= {revision.name for revision in plan_of(name).revisions}


@pytest.mark.parametrize("name", MAIN)
def test_candidates_match_published_choice(name: str) -> None:
    assert sorted(step.name for step in plan_of(name).candidates()) == sorted(MAIN[name])


def test_olmo1_warmup_starts_at_a_tenth() -> None:
    for name, peak, warmup in (("olmo1-1b", 4e-4, 2000), ("olmo1-7b", 3e-4, 5000)):
        (run,) = plan_of(name).runs["stage1"]
        assert rate_of(run)(1) == pytest.approx(peak * (0.1 + 0.9 / warmup))
        assert rate_of(run)(warmup) == pytest.approx(peak)
    (stage1,), (anneal,) = plan_of("olmo1-7b").runs["stage1"], plan_of("olmo1-7b").runs["anneal"]
    assert rate_of(anneal, stage1)(500) == pytest.approx(1.5e-5)
    assert rate_of(anneal, stage1)(1000) == 0


def test_lists_are_pinned_to_a_commit() -> None:
    for name in STAGE1:
        plan = plan_of(name)
        for run in (run for runs in plan.runs.values() for run in runs):
            sources = [step for step in run.step.inputs.values() if step.kind == "tokens"]
            assert sources
            for step in sources:
                assert "/59a53e3f68e54633" in step.fields["list_url"] or "/84c804d4287d928d" in step.fields["list_url"]
