"""Records in MLflow's terms: notes that fit into a tag, tags of the code, times, and training steps."""

import re
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.tracking.mlflow.format import (
    KEY_LENGTH,
    TAG_LENGTH,
    artifact_table,
    code_tags,
    key,
    milliseconds,
    moment,
    numbers,
    scores,
    source_tags,
    training_step,
    training_values,
    truncate,
    unused,
)


def test_table_has_a_row_per_artifact_with_a_short_id() -> None:
    assert artifact_table("input", [("mix", "mix/stage1", "a" * 64), ("start", "checkpoint/x", "b" * 64)]) == (
        "| input | | artifact |\n"
        "|---|---|---|\n"
        f"| mix | mix/stage1 | `{'a' * 12}` |\n"
        f"| start | checkpoint/x | `{'b' * 12}` |\n"
    )


@settings(max_examples=40)
@given(st.integers(0, 400), st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_table_fits_into_a_tag_and_counts_what_it_leaves_out(count: int, widths: list[int]) -> None:
    lengths = list(islice(cycle(widths), count))
    rows = [("x" * length, "", "a" * 64) for length in lengths]
    text = artifact_table("step", rows)
    assert len(text) <= TAG_LENGTH
    shown = text.count(f"`{'a' * 12}` |\n")
    more = re.search(r"\nand (\d+) more$", text)
    assert shown + (int(more[1]) if more else 0) == len(rows)
    if more:
        assert len(text) + len("| |  | `aaaaaaaaaaaa` |\n") + lengths[shown] > TAG_LENGTH - 100, "it is nearly full"


@pytest.mark.parametrize(
    ("code", "tags"),
    [
        ({"commit": "c" * 40, "dirty": True}, {"mlflow.source.git.commit": "c" * 40, "olmo.dirty": "true"}),
        ({"commit": "c" * 40, "dirty": False}, {"mlflow.source.git.commit": "c" * 40, "olmo.dirty": "false"}),
        ({"commit": None, "dirty": None}, {}),
    ],
)
def test_code_has_tags_as_far_as_it_is_known(code: dict[str, Any], tags: dict[str, str]) -> None:
    assert code_tags(code) == tags


def test_source_is_the_command_of_the_recipe() -> None:
    assert source_tags("olmo2-7b") == {"mlflow.source.name": "olmo run olmo2-7b", "mlflow.source.type": "LOCAL"}


@pytest.mark.parametrize("step", [-1, 1.0, "4", None])
def test_training_step_is_a_whole_number_from_zero(step: Any) -> None:
    with pytest.raises(ValueError, match=f"^training step {re.escape(repr(step))} is not a non-negative integer$"):
        training_step(step)
    assert [training_step(each) for each in (0, 2**40)] == [0, 2**40]


@given(st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_moment_of_a_record_is_in_milliseconds(when: datetime) -> None:
    exact = (when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000
    assert moment(when.isoformat()) == milliseconds(when.timestamp())
    assert exact - 1.001 <= moment(when.isoformat()) <= exact


def test_moment_does_not_depend_on_the_zone_it_is_written_in() -> None:
    assert moment("2026-01-01T00:00:00+00:00") == moment("2026-01-01T05:30:00+05:30") == 1767225600000


def test_training_values_leave_out_the_step_itself() -> None:
    assert training_values({"step": 3, "loss": 2, "lr": 0.5}) == {"train/loss": 2.0, "train/lr": 0.5}


def test_sources_of_one_metric_share_a_section_of_charts() -> None:
    result = {
        "heldout": {name: {"bits_per_byte": 1.5, "documents": 3} for name in ("wiki", "news")},
        "tasks": {
            "arc": {"primary": "accuracy", "accuracy": 0.5, "bits_per_byte": 9.0, "documents": 3},
            "copa": {"primary": "bits_per_byte", "bits_per_byte": 0.75, "documents": 3},
        },
    }
    found = scores(result)
    assert found.pop("tasks/bits_per_byte/copa") == 0.75
    assert {name.rpartition("/")[0] for name in found} == {"heldout/bits_per_byte", "tasks/accuracy"}
    assert scores({}) == {}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a/../b", "a_.._b"),
        ("/a", "_a"),
        ("a//b", "a__b"),
        ("a/", "a_"),
        (".", "_"),
        ("", "_"),
        ("naïve=1", "na_ve_1"),
        ("x" * (KEY_LENGTH + 50) + "/loss", "x" * (KEY_LENGTH - 5) + "/loss"),
    ],
)
def test_key_that_mlflow_refuses_is_changed(text: str, name: str) -> None:
    assert key(text) == name


def test_numbered_name_has_room_for_its_number() -> None:
    name = "x" * KEY_LENGTH
    taken = {name: 0.0}
    for _ in range(12):
        taken[unused(name, taken)] = 0.0
    assert len(taken) == 13 and max(map(len, taken)) <= KEY_LENGTH
    assert any(each.endswith("_12") for each in taken)


@given(st.integers(0, 300), st.integers(40, 150))
def test_truncated_text_is_a_beginning_with_the_original_length(characters: int, length: int) -> None:
    text = "".join(islice(cycle("abcdefghij"), characters))
    found = truncate(text, length)
    assert len(found) == min(len(text), length)
    if len(text) > length:
        note = f"... ({len(text)} characters)"
        assert found.endswith(note) and text.startswith(found.removesuffix(note))


def test_colliding_paths_of_numbers_are_all_kept() -> None:
    assert numbers({"a": {"b/c": 1}, "a/b": {"c": 2}}) == {"a/b/c": 1.0, "a/b/c_2": 2.0}
