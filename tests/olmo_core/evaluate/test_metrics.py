import math

import pytest

from olmo_core.evaluate.metrics import heldout_metrics, summary, task_metrics
from olmo_core.evaluate.table import ChoiceScore, HeldoutRow, TaskRow

LN2 = math.log(2)


def row(gold: int, *choices: tuple[float, int, int, float | None]) -> TaskRow:
    """Return a row with choices given as (log-likelihood, characters, bytes, unconditional)."""
    return TaskRow("t", 0, gold, tuple(ChoiceScore(ll, 1, chars, size, alone) for ll, chars, size, alone in choices))


def test_metrics_match_hand_calculation() -> None:
    rows = [
        # Raw picks 0 (right); per character -4/2, -6/6 picks 1; per byte -4/8, -6/6 picks 0; gain 1, 3 picks 1.
        row(0, (-4.0, 2, 8, -5.0), (-6.0, 6, 6, -9.0)),
        # Raw picks 1 (wrong); per character -8/8, -2/1 picks 0; per byte -8/8, -2/1 picks 0; gain 0, -1 picks 0.
        row(0, (-8.0, 8, 8, -8.0), (-2.0, 1, 1, -1.0)),
        # Raw picks 2, the right one; per character and byte -2/1, -6/2, -1/4 the same; gain 0, 0, 0 picks the first.
        row(2, (-2.0, 1, 1, -2.0), (-6.0, 2, 2, -6.0), (-1.0, 4, 4, -1.0)),
    ]
    metrics = task_metrics(rows)
    assert metrics["documents"] == 3
    assert metrics["chance"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3, rel=1e-6)
    assert metrics["accuracy"] == pytest.approx(2 / 3, rel=1e-6)
    assert metrics["accuracy_per_character"] == pytest.approx(2 / 3, rel=1e-6)
    assert metrics["accuracy_per_byte"] == 1.0
    assert metrics["accuracy_unconditional"] == pytest.approx(1 / 3, rel=1e-6)
    # Of (1, 0, 1): deviation with n - 1 is sqrt(1/3), over sqrt(3) is 1/3.
    assert metrics["accuracy_stderr"] == pytest.approx(1 / 3, rel=1e-6)
    assert metrics["accuracy_per_byte_stderr"] == 0.0
    bits = [4 / 8 / LN2, 8 / 8 / LN2, 1 / 4 / LN2]
    assert metrics["bits_per_byte"] == pytest.approx(sum(bits) / 3, rel=1e-6)
    shares = [
        1 / (1 + math.exp(-2)),
        math.exp(-6) / (1 + math.exp(-6)),
        math.exp(-1) / (math.exp(-1) + math.exp(-2) + math.exp(-6)),
    ]
    assert metrics["gold_probability"] == pytest.approx(sum(shares) / 3, rel=1e-6)


def test_accuracies_need_choices_and_unconditional_scores() -> None:
    without_choice = task_metrics([row(0, (-4.0, 2, 2, None)), row(0, (-2.0, 2, 2, None))])
    assert without_choice["bits_per_byte"] == pytest.approx(1.5 / LN2, rel=1e-6)
    assert not {"accuracy", "chance", "gold_probability"} & without_choice.keys()
    one_without = task_metrics([row(0, (-4.0, 2, 2, -1.0), (-5.0, 2, 2, None))])
    assert "accuracy" in one_without
    assert "accuracy_unconditional" not in one_without
    assert one_without["accuracy_stderr"] is None  # One item has no spread.


def test_first_choice_wins_a_tie() -> None:
    tie = ((-3.0, 2, 2, None), (-3.0, 2, 2, None))
    assert task_metrics([row(0, *tie), row(1, *tie)])["accuracy"] == 0.5


def test_gold_probability_does_not_underflow() -> None:
    assert task_metrics([row(0, (-5000.0, 1, 1, None), (-5000.0, 1, 1, None))])["gold_probability"] == 0.5


def test_heldout_bits_per_byte_is_total_bits_over_total_bytes() -> None:
    metrics = heldout_metrics([HeldoutRow("s", "a", 10.0, 4, 3), HeldoutRow("s", "b", 2.0, 2, 1)])
    assert metrics["bits_per_byte"] == 2.0
    # Residuals 10 - 8 and 2 - 4: sqrt(2 / 1 * (4 + 4)) / 6.
    assert metrics["stderr"] == pytest.approx(4 / 6, rel=1e-6)
    assert (metrics["documents"], metrics["bytes"], metrics["tokens"]) == (2, 6, 4)


def test_summary_separates_sources_and_tasks() -> None:
    rows = [
        HeldoutRow("a", "1", 8.0, 4, 1),
        HeldoutRow("b", "1", 4.0, 4, 1),
        row(0, (-1.0, 1, 1, None), (-2.0, 1, 1, None)),
    ]
    results = summary(rows)
    assert {source: entry["bits_per_byte"] for source, entry in results["heldout"].items()} == {"a": 2.0, "b": 1.0}
    assert results["tasks"]["t"]["accuracy"] == 1.0
