"""Counts, sizes and times as people write them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.recipe.quantity import UNITS, parse_count, show_bytes, show_count, show_duration, show_energy, show_flops


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2M", 2_000_000),
        ("250K", 250_000),
        ("1.5B", 1_500_000_000),
        ("4T", 4_000_000_000_000),
        ("2e6", 2_000_000),
        ("5E+9", 5_000_000_000),
        ("1_048_576", 1_048_576),
        (" 17 ", 17),
        ("0.5K", 500),
    ],
)
def test_accepted_forms_of_counts(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "K", "-1", "2k", "1.5", "0.0005K", "1e-3", "two", "2MB", "1,000", "1.2.3", "inf"])
def test_invalid_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        parse_count(text)


@pytest.mark.parametrize("value", [3, True, None, [1], 2.5])
def test_other_types_are_passed_to_pydantic(value: object) -> None:
    assert parse_count(value) is value


def test_whole_float_is_a_count() -> None:
    assert parse_count(2e6) == 2_000_000
    assert isinstance(parse_count(2e6), int)


@given(st.integers(0, 10**18), st.sampled_from(sorted(UNITS)))
def test_counts_round_trip_in_every_unit(count: int, unit: str) -> None:
    text = f"{Decimal(count) / UNITS[unit]:f}{unit}"
    assert parse_count(text) == count


@given(st.floats(1, 1e15))
def test_show_count_has_three_correct_digits(value: float) -> None:
    shown = show_count(value)
    unit = shown[-1] if shown[-1] in UNITS else ""
    assert float(shown.removesuffix(unit)) * UNITS[unit] == pytest.approx(value, rel=5e-3)


@pytest.mark.parametrize(
    ("value", "shown"), [(999, "999"), (1000, "1K"), (999_600, "1M"), (2_050_000, "2.05M"), (5e12, "5T"), (0, "0")]
)
def test_shown_counts(value: float, shown: str) -> None:
    assert show_count(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (40.2, "40 s"),
        (59.6, "1 min"),
        (89 * 60, "89 min"),
        (90 * 60, "1.5 h"),
        (11_520, "3.2 h"),
        (35 * 3600, "35 h"),
        (2 * 86400, "2 days"),
        (18.2 * 86400, "18 days"),
        (900 * 86400, "2.5 years"),
        (9e11, "over 100 years"),
    ],
)
def test_show_duration_has_two_digits(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


def test_units_match_magnitudes() -> None:
    assert [show_bytes(each) for each in (0, 999, 13.46e9, 999.7e9, 1.57e14)] == [
        "0 B",
        "999 B",
        "13.5 GB",
        "1 TB",
        "157 TB",
    ]
    assert [show_flops(each) for each in (0, 1.24e23, 6.16e13)] == ["0", "1.2e23", "6.2e13"]
    assert [show_energy(each) for each in (0.00849, 1.25, 12_345.6)] == ["8.49 Wh", "1.25 kWh", "12.3 MWh"]
    assert [show_energy(each) for each in (0, 2e-8, 1.04e-6)] == ["0 Wh", "<0.001 Wh", "0.00104 Wh"]
