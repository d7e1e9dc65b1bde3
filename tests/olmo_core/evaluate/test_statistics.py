import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.evaluate.statistics import mean, paired_interval, ratio

# Differences and weights drawn once; the reference values are computed with scipy (1.17.1).
RANDOM = np.random.default_rng(11)
WEIGHTS = RANDOM.integers(200, 3000, 80).astype(float)
DIFFERENCES = WEIGHTS * RANDOM.normal(-0.01, 0.03, 80)


def test_mean_and_error_match_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    estimate = mean(DIFFERENCES)
    assert estimate.value == pytest.approx(DIFFERENCES.mean())
    assert estimate.stderr == pytest.approx(stats.sem(DIFFERENCES))


def test_ratio_error_equals_mean_error_for_equal_sizes() -> None:
    values = RANDOM.normal(2, 0.3, 50)
    plain, weighted = mean(values), ratio(values * 7, np.full(50, 7))
    assert (weighted.value, weighted.stderr) == pytest.approx((plain.value, plain.stderr))


def test_ratio_error_matches_jackknife() -> None:
    bits = WEIGHTS * 2.5 + DIFFERENCES * 20
    keep = ~np.eye(80, dtype=bool)
    left_out = np.array([bits[kept].sum() / WEIGHTS[kept].sum() for kept in keep])
    jackknife = np.sqrt(79 / 80 * np.square(left_out - left_out.mean()).sum())
    assert ratio(bits, WEIGHTS).stderr == pytest.approx(jackknife, rel=0.05)


def test_paired_interval_matches_scipy_bootstrap() -> None:
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.bootstrap(
        (DIFFERENCES, WEIGHTS),
        lambda d, w, axis: d.sum(axis) / w.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    )
    own = paired_interval([(DIFFERENCES, WEIGHTS)], resamples=20_000)
    assert own.difference == pytest.approx(DIFFERENCES.sum() / WEIGHTS.sum())
    width = own.high - own.low
    assert abs(own.low - theirs.confidence_interval.low) < 0.03 * width
    assert abs(own.high - theirs.confidence_interval.high) < 0.03 * width
    assert own.stderr == pytest.approx(theirs.standard_error, rel=0.03)


def test_paired_interval_matches_linearised_error() -> None:
    own = paired_interval([(DIFFERENCES, WEIGHTS)])
    assert own.stderr == pytest.approx(ratio(DIFFERENCES, WEIGHTS).stderr, rel=0.05)


def test_sources_have_equal_weight() -> None:
    small, large = (np.array([1.0, 5.0]), np.array([10.0, 10.0])), (np.full(50, -2.0), np.full(50, 10.0))
    assert paired_interval([small, large]).difference == pytest.approx((0.3 - 0.2) / 2)


def test_constant_difference_has_zero_width_interval() -> None:
    interval = paired_interval([(WEIGHTS * -0.25, WEIGHTS)])
    assert (interval.difference, interval.low, interval.high) == pytest.approx((-0.25, -0.25, -0.25))


def test_interval_covers_truth_at_its_confidence() -> None:
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        weights = random.integers(500, 1500, 60).astype(float)
        interval = paired_interval([(weights * random.normal(0.1, 1, 60), weights)], confidence=0.9, resamples=400)
        covered += interval.low <= 0.1 <= interval.high
    assert (
        0.84 < covered / 300 < 0.94
    )  # 0.90 minus the bias of a percentile bootstrap of 60, plus or minus three errors of 0.017.


@given(st.integers(0, 2**32), st.floats(0.5, 0.99))
def test_equal_input_gives_equal_interval(seed: int, confidence: float) -> None:
    strata = [(DIFFERENCES[:9], WEIGHTS[:9])]
    one, two = (paired_interval(strata, confidence, 150, seed) for _ in range(2))
    assert one == two
    assert one.low <= one.high


def test_too_few_values_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 documents"):
        paired_interval([(DIFFERENCES, WEIGHTS), ([1.0], [2.0])])
    with pytest.raises(ValueError, match="no values"):
        mean([])
    with pytest.raises(ValueError, match="above zero"):
        ratio([], [])
