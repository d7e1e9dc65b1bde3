"""Reasons of a plan: each once, the most frequent first, with the steps where a change began."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olmo_core.artifact.identity import Step
from olmo_core.artifact.why import ABSENT, Difference, Why
from olmo_core.report.reasons import CHANGED_CODE, MANY, NO_RECORD, Reason, reasons

RUN = Step("run", "stage2", 1)
SOUP = Step("soup", "soup", 1)


def changed(step: Step, *differences: tuple[str, Any, Any], origin: str = "", nearest: str = "") -> Why:
    """Return a miss whose nearest record is another of the same name."""
    found = [Difference(origin or step.label, *each) for each in differences]
    folder = nearest or f"{step.label}-{'0' * 12}"
    return Why(False, f"{len(found)} declared value(s) differ from {folder}", found, nearest=folder)


def only(*found: tuple[str, Step, Why]) -> Reason:
    (reason,) = reasons(found)
    return reason


@pytest.mark.parametrize(
    ("path", "recorded", "wanted", "text"),
    [
        ("fields.seed", 42, 7, "seed changed: 7, was 42"),
        ("fields.schedule.kind", "linear", "cosine", 'schedule.kind changed: "cosine", was "linear"'),
        ("fields.limit", None, 10, "limit changed: 10, was null"),
        ("fields.groups[1]", ABSENT, 3, "groups[1] was added"),
        ("fields.groups[1]", 3, ABSENT, "groups[1] was removed"),
        ("inputs.start", "a" * 64, "b" * 64, "input start changed"),
        ("inputs.heldout/wiki", ABSENT, "b" * 64, "input heldout/wiki was added"),
        ("inputs.heldout/wiki", "b" * 64, ABSENT, "input heldout/wiki was removed"),
        ("version", 1, 2, "version changed: 2, was 1"),
    ],
)
def test_difference_names_field_and_both_values(path: str, recorded: Any, wanted: Any, text: str) -> None:
    assert only(("stage2", RUN, changed(RUN, (path, recorded, wanted)))).text == text


def test_long_value_is_cut_to_thirty_characters() -> None:
    short, long = "x" * 28, "x" * 29  # and two quotes
    assert only(("stage2", RUN, changed(RUN, ("fields.a", short, long)))).text == (
        f'a changed: "{"x" * 26}..., was "{short}"'
    )


def test_reason_lists_every_step_where_the_change_began_once() -> None:
    seed = ("fields.seed", 42, 7)
    first, second = Step("run", "stage2-ingredient1", 1), Step("run", "stage2-ingredient2", 1)
    reason = only(
        ("stage2", first, changed(first, seed)),
        ("stage2", second, changed(second, seed)),
        ("soup", SOUP, changed(SOUP, seed, origin=second.label)),
    )
    assert (reason.steps, reason.parts) == (3, ["stage2", "soup"])
    assert reason.origins == ["run/stage2-ingredient1", "run/stage2-ingredient2"]


def test_up_to_three_changes_are_reasons_of_their_own() -> None:
    found = reasons([("stage2", RUN, changed(RUN, *((f"fields.f{number}", 0, 1) for number in range(3))))])
    assert [reason.text for reason in found] == [f"f{number} changed: 1, was 0" for number in range(3)]
    assert {reason.steps for reason in found} == {1}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (4, "f0, f1, f2 and 1 more value changed"),
        (5, "f0, f1, f2 and 2 more values changed"),
        (MANY - 1, "f0, f1, f2 and 8 more values changed"),
        (MANY, NO_RECORD),
    ],
)
def test_more_than_three_changes_are_counted(count: int, text: str) -> None:
    assert only(("stage2", RUN, changed(RUN, *((f"fields.f{number}", 0, 1) for number in range(count))))).text == text


def test_one_field_of_many_inputs_is_named_once_without_a_count() -> None:
    """Four ingredients with another seed each are one changed field, not one and three more."""
    differences = [Difference(f"run/ingredient{number}", "fields.seed", number, number + 10) for number in range(4)]
    verdict = Why(False, "4 declared value(s) differ", differences, nearest=f"{SOUP.label}-{'0' * 12}")
    assert only(("soup", SOUP, verdict)).text == "seed changed"


def test_nearest_record_of_another_name_is_no_comparison() -> None:
    verdict = changed(RUN, ("fields.seed", 42, 7), nearest=f"run/stage1-{'0' * 12}")
    assert only(("stage2", RUN, verdict)).text == NO_RECORD


@pytest.mark.parametrize(
    ("verdict", "action", "text"),
    [
        (Why(False, "no run was ever made in this store"), "run", NO_RECORD),
        (
            Why(False, "it was complete once, but file a is missing"),
            "run",
            "it was complete once, but file a is missing",
        ),
        (
            Why(False, "its input mix was made again with other content", code_changed=["olmo_core.train"]),
            "run",
            "its input mix was made again with other content",
        ),
        (Why(True, "complete; code changed since in a", code_changed=["a"]), "reuse", CHANGED_CODE),
        (Why(False, "complete; code changed since in a", code_changed=["a"]), "run", CHANGED_CODE),
    ],
)
def test_verdict_without_differences_has_its_own_reason(verdict: Why, action: str, text: str) -> None:
    reason = only(("stage2", RUN, verdict))
    assert (reason.action, reason.text, reason.origins) == (action, text, [])


def test_intact_artifact_needs_no_reason() -> None:
    assert reasons([("stage2", RUN, Why(True, "complete"))]) == []


VERDICTS = {
    "run no record": Why(False, "no run was ever made in this store"),
    "run code changed since": Why(False, "complete; code changed since in a", code_changed=["a"]),
    "reuse code changed since": Why(True, "complete; code changed since in a", code_changed=["a"]),
    "": Why(True, "complete"),
}


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["data", "stage1", "soup"]), st.sampled_from(sorted(VERDICTS))), max_size=30))
def test_reasons_count_every_step_once_and_rank_what_runs_first(chosen: list[tuple[str, str]]) -> None:
    found = reasons((part, RUN, VERDICTS[key]) for part, key in chosen)
    counted = Counter(key for _, key in chosen if key)
    assert {f"{reason.action} {reason.text}": reason.steps for reason in found} == counted
    for reason in found:
        parts = [part for part, key in chosen if key == f"{reason.action} {reason.text}"]
        assert reason.parts == list(dict.fromkeys(parts))
    ranks = [(reason.action != "run", -reason.steps) for reason in found]
    assert ranks == sorted(ranks)
