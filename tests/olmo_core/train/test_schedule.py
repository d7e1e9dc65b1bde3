import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmo_core.train.config import ScheduleConfig
from olmo_core.train.schedule import learning_rate

WARMUP = 8_388_608_000  # Tokens, in every official OLMo 2 config.


# Rates of the released OLMo 2 runs: at the step from which stage 2 of the 7B inherits its rate, and at the last steps
# of stage 1 of the 7B, the 1B and the 13B (peak 9e-4, the rate that this run really had).
@pytest.mark.parametrize(
    ("peak", "step", "batch_tokens", "expected"),
    [
        (3e-4, 928_000, 1024 * 4096, 6.1499e-5),
        (3e-4, 928_646, 1024 * 4096, 6.1351e-5),
        (4e-4, 1_907_359, 512 * 4096, 7.4487e-5),
        (9e-4, 596_057, 2048 * 4096, 9.0e-5),
    ],
)
def test_rates_match_released_runs(peak: float, step: int, batch_tokens: int, expected: float) -> None:
    schedule = ScheduleConfig(kind="cosine", peak=peak, warmup=WARMUP, final=0.1, horizon=5 * 10**12)
    assert learning_rate(schedule, peak, step * batch_tokens, total=1) == pytest.approx(expected, rel=1e-4)


def test_anneal_ends_at_exactly_zero() -> None:
    schedule = ScheduleConfig(kind="linear", peak="inherit", final=0.0)
    rates = [learning_rate(schedule, 6e-5, tokens, total=1000) for tokens in range(10, 1001, 10)]
    assert rates[-1] == 0.0
    assert rates[49] == pytest.approx(3e-5)
    assert rates == sorted(rates, reverse=True)


def test_wsd_holds_peak_then_falls() -> None:
    schedule = ScheduleConfig(kind="wsd", peak=1.0, warmup=10, decay=20, final=0.5)
    rates = {tokens: learning_rate(schedule, 1.0, tokens, total=100) for tokens in (5, 10, 50, 80, 90, 100)}
    assert rates == pytest.approx({5: 0.5, 10: 1.0, 50: 1.0, 80: 1.0, 90: 0.75, 100: 0.5})


def test_schedules_in_steps_and_tokens_agree() -> None:
    # Stage 2 of the OLMo 2 13B: 100B tokens at 8.39M a step, linear to zero.
    by_steps = ScheduleConfig(kind="linear", peak=9e-5, unit="steps", warmup=100)
    by_tokens = ScheduleConfig(kind="linear", peak=9e-5, warmup=100 * 2048 * 4096)
    for step in (1, 100, 101, 6000, 11_921):
        rate = learning_rate(by_steps, 9e-5, step, total=11_921)
        assert rate == pytest.approx(learning_rate(by_tokens, 9e-5, step * 2048 * 4096, total=11_921 * 2048 * 4096))
    assert rate == 0.0


def test_warmup_may_begin_above_zero() -> None:
    # OLMo 1: the rate rises from a tenth of the peak (olmo/optim.py, without warmup_min_lr).
    schedule = ScheduleConfig(kind="linear", peak=3e-4, unit="steps", warmup=5000, warmup_from=0.1, final=0.1)
    rates = [learning_rate(schedule, 3e-4, step, total=10_000) for step in (1, 2500, 5000, 10_000)]
    assert rates == pytest.approx([3e-5 + 2.7e-4 / 5000, 1.65e-4, 3e-4, 3e-5])


def test_rest_keeps_final_rate_over_last_steps() -> None:
    resting = ScheduleConfig(kind="linear", peak=1.0, unit="steps", rest=10)
    short = ScheduleConfig(kind="linear", peak=1.0, unit="steps")
    rates = [learning_rate(resting, 1.0, step, total=100) for step in range(1, 101)]
    assert rates == [learning_rate(short, 1.0, step, total=90) for step in range(1, 91)] + [0.0] * 10


def test_rate_stays_final_beyond_horizon() -> None:
    schedule = ScheduleConfig(kind="linear", peak=1.0, unit="steps", horizon=90)
    # The released anneals run ten steps beyond their schedules, at rate zero.
    assert [learning_rate(schedule, 1.0, step, total=100) for step in (89, 90, 91, 100)] == pytest.approx(
        [1 / 90, 0, 0, 0]
    )


def test_constant_schedule_stays_at_peak() -> None:
    schedule = ScheduleConfig(kind="constant", peak=1.0, warmup=10)
    assert [learning_rate(schedule, 1.0, t, 100) for t in (10, 11, 100)] == [1.0, 1.0, 1.0]


@given(
    st.sampled_from(["constant", "linear", "cosine", "wsd"]),
    st.floats(1e-6, 1e-1),
    st.floats(0, 1),
    st.integers(0, 1000),
    st.integers(1, 500),
    st.integers(1, 3000),
)
def test_rates_stay_within_bounds_and_warm_up_linearly(
    kind: str, peak: float, final: float, warmup: int, decay: int, tokens: int
) -> None:
    schedule = ScheduleConfig.model_validate(
        {"kind": kind, "peak": peak, "final": final, "warmup": warmup, "decay": decay if kind == "wsd" else None}
    )
    rate = learning_rate(schedule, peak, tokens, total=2000)
    if tokens <= warmup:
        assert rate == pytest.approx(peak * tokens / warmup)
    else:
        floor = peak if kind == "constant" else peak * final
        assert floor * (1 - 1e-9) <= rate <= peak * (1 + 1e-9)
    if kind != "constant" and tokens >= 2000:
        assert math.isclose(rate, peak * final, rel_tol=1e-9, abs_tol=1e-18)
