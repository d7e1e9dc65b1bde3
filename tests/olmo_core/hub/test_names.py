import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from olmo_core.hub.names import UNITS, Place, RevisionNameConfig, in_order, place, revision_name, token_count

CEIL, NOMINAL = RevisionNameConfig(), RevisionNameConfig(rounding="nominal")

# Branches of the public repositories allenai/OLMo-2-0425-1B, -1124-7B, -1124-13B and -0325-32B. Steps, sequences a step
# (of 4096 tokens) and budgets come from the official configs; 7B stage 1 ended at one epoch with 3895.02e9 tokens.
PUBLISHED = [
    (CEIL, "stage1", 1_907_359, 512, 5e12, None, "stage1-step1907359-tokens4001B"),
    (CEIL, "stage1", 928_646, 1024, 5e12, None, "stage1-step928646-tokens3896B"),
    (CEIL, "stage1", 596_057, 2048, 5e12, None, "stage1-step596057-tokens5001B"),
    (CEIL, "stage1", 721_901, 2048, 6.5e12, None, "stage1-step721901-tokens6056B"),
    (CEIL, "stage2", 23_852, 512, 50e9, 3, "stage2-ingredient3-step23852-tokens51B"),
    (NOMINAL, "stage2", 11_931, 1024, 50e9, 1, "stage2-ingredient1-step11931-tokens50B"),
    (NOMINAL, "stage2", 11_931, 2048, 100e9, 2, "stage2-ingredient2-step11931-tokens100B"),
    (NOMINAL, "stage2", 35_773, 2048, 300e9, 4, "stage2-ingredient4-step35773-tokens300B"),
    (CEIL, "stage2", 11_921, 2048, 100e9, 1, "stage2-ingredient1-step11921-tokens101B"),
    (CEIL, "stage2", 35_763, 2048, 300e9, 3, "stage2-ingredient3-step35763-tokens301B"),
]


def test_names_of_olmo1_have_no_stage():
    """Branches of allenai/OLMo-7B, of 2160 sequences of 2048 tokens a step, rounded to the nearest billion."""
    rule = RevisionNameConfig(stage=False, rounding="nearest")
    for step, tokens in ((1000, "4B"), (452_000, "2000B"), (556_000, "2460B"), (557_000, "2464B")):
        assert revision_name(rule, "stage1", step, step * 2160 * 2048, 0) == f"step{step}-tokens{tokens}"
    assert revision_name(rule, "stage2", 5, 10**9, 0, ingredient=2) == "ingredient2-step5-tokens1B"


@pytest.mark.parametrize(("rule", "stage", "step", "batch", "budget", "ingredient", "name"), PUBLISHED)
def test_published_names(rule, stage, step, batch, budget, ingredient, name):
    assert revision_name(rule, stage, step, step * batch * 4096, int(budget), ingredient) == name


@pytest.mark.parametrize(
    ("rule", "tokens", "budget", "written"),
    [
        (CEIL, 1_638_400, 2_000_000, "2M"),
        (CEIL, 245_760, 250_000, "246K"),
        (NOMINAL, 256_000, 250_000, "250K"),
        (NOMINAL, 999, 500, "1K"),
        (NOMINAL, 4_194_304_000, 50_000_000_000, "5B"),
        (CEIL, 999_000_001, 10**9, "1B"),
        (CEIL, 0, 10**9, "0K"),
        (RevisionNameConfig(rounding="nearest"), 2_500_000, 0, "3M"),
        (RevisionNameConfig(rounding="nearest"), 2_499_999, 0, "2M"),
        (RevisionNameConfig(unit="T"), 3_895_020_000_000, 0, "4T"),
        (RevisionNameConfig(unit="M"), 3_895_020_000_000, 0, "3895020M"),
    ],
)
def test_token_counts(rule, tokens, budget, written):
    assert token_count(rule, tokens, budget) == written


@given(st.integers(1, 10**14), st.integers(1, 10**14))
def test_rounding_is_close(tokens, budget):
    for rounding in ("ceil", "nearest"):
        written = token_count(RevisionNameConfig(rounding=rounding), tokens, budget)
        unit = UNITS[written[-1]]
        error = int(written[:-1]) * unit - tokens
        assert 0 <= error < unit if rounding == "ceil" else -unit < 2 * error <= unit
    nominal = token_count(NOMINAL, tokens, budget)
    assert nominal == token_count(CEIL, tokens, budget) or int(nominal[:-1]) * UNITS[nominal[-1]] <= budget


def test_override_replaces_the_computed_name():
    rule = RevisionNameConfig(overrides={"stage1-step5-tokens1K": "stage1-step5-tokens5B"})
    assert revision_name(rule, "stage1", 5, 900, 1000) == "stage1-step5-tokens5B"
    assert revision_name(rule, "stage1", 6, 900, 1000) == "stage1-step6-tokens1K"


@pytest.mark.parametrize("name", ["a/b", "..", "-x", "", "a b", "x.lock", "a..b", "é"])
def test_name_that_cannot_be_a_branch_is_refused(name):
    with pytest.raises(ValidationError, match="cannot be a branch"):
        RevisionNameConfig(overrides={"x": name})


def test_names_sort_by_number_and_end_with_main():
    names = [
        "stage1-step0-tokens0K",
        "stage1-step400-tokens2M",
        "stage1-step1000-tokens5M",
        "stage2-ingredient1-step60-tokens250K",
        "stage2-ingredient2-step8-tokens33K",
        "stage2-ingredient2-step60-tokens250K",
        "stage2-ingredient10-step60-tokens250K",
        "stage2-soup",
        "main",
    ]
    shuffled = random.Random(7).sample(names, len(names))
    assert in_order(shuffled) == names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stage1-step1907359-tokens4001B", Place("stage1", 1_907_359, 4001 * 10**9)),
        ("stage2-ingredient3-step23852-tokens51B", Place("stage2-ingredient3", 23_852, 51 * 10**9)),
        ("step1000-tokens4B", Place("", 1000, 4 * 10**9)),  # as OLMo 1 has them
        ("main", None),
        ("stage2-soup", None),
        ("a/step1-tokens1B", None),
    ],
)
def test_place_of_a_checkpoint_by_its_name(name, expected):
    assert place(name) == expected


@given(st.integers(0, 10**7), st.integers(1, 10**13), st.sampled_from([None, 1, 12]))
def test_every_computed_name_has_a_place(step, tokens, ingredient):
    found = place(revision_name(CEIL, "stage2", step, tokens, tokens, ingredient))
    assert (found.run, found.step) == ("stage2" if ingredient is None else f"stage2-ingredient{ingredient}", step)
    assert tokens <= found.tokens
