"""Skipped steps: the verdicts against a plain implementation of the rule, and that a skipped step has no effect."""

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_world import EAGER, MODEL, config

from olmo_core.train.config import SkipStepConfig
from olmo_core.train.skip import SkipStep
from olmo_core.train.trainer import Trainer

CPU = torch.device("cpu")
VALUES = st.one_of(st.floats(0.5, 2.0, width=32), st.sampled_from([50.0, math.inf, math.nan]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), max_size=40), st.integers(2, 9), st.integers(2, 12))
def test_verdicts_match_plain_rule(seen: list[tuple[float, float]], window: int, warmup: int) -> None:
    skip_step = SkipStep(SkipStepConfig(window=window, warmup=warmup, deviations=3.0), CPU)
    accepted: list[tuple[float, float]] = []
    for loss, norm in seen:
        expected = not (math.isfinite(loss) and math.isfinite(norm))
        if len(accepted) >= warmup and not expected:
            for value, past in zip((loss, norm), zip(*accepted[-window:], strict=True), strict=True):
                bound = statistics.fmean(past) + 3.0 * statistics.stdev(past)
                if math.isclose(value, bound, rel_tol=1e-4):
                    return  # too close to the bound for fp32
                expected |= value > bound
        assert skip_step.skips(torch.tensor(loss), torch.tensor(norm)).item() == expected
        if not expected:
            accepted.append((loss, norm))
    assert skip_step.accepted.item() == len(accepted)


def test_skipped_spike_stays_out_of_window() -> None:
    skip_step = SkipStep(SkipStepConfig(window=16, warmup=4), CPU)
    for n in range(8):
        skip_step.skips(torch.tensor(2.0 + n % 2 / 10), torch.tensor(1.0))
    before = skip_step.window.clone()
    for _ in range(20):
        assert skip_step.skips(torch.tensor(9.0), torch.tensor(1.0))
    assert torch.equal(skip_step.window, before)


def batch(seed: int) -> torch.Tensor:
    return torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(seed))


def state(trainer: Trainer) -> list[torch.Tensor]:
    held = [value for state in trainer.optimizer.state.values() for value in state.values()]
    return [tensor.clone() for tensor in (*trainer.model.parameters(), *held)]


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e4])
def test_skipped_step_changes_neither_weights_nor_moments(poison: float) -> None:
    trainer = Trainer(MODEL, config(skip_step=SkipStepConfig(warmup=4)).build_objective(), EAGER).initialize()
    for seed in range(6):
        assert trainer.update({"tokens": batch(seed)}, 1e-3).skipped == 0
    before = state(trainer)
    hook = trainer.model.norm.register_forward_hook(lambda *_: _[-1] * poison)
    assert trainer.update({"tokens": batch(7)}, 1e-3).skipped == 1
    hook.remove()
    for was, now in zip(before, state(trainer), strict=True):
        assert torch.equal(was, now)
    assert trainer.update({"tokens": batch(7)}, 1e-3).skipped == 0
    assert any(not torch.equal(was, now) for was, now in zip(before, state(trainer), strict=True))


def test_run_without_outliers_is_unchanged_by_skip_step() -> None:
    plain, guarded = (
        Trainer(MODEL, config(skip_step=skip_step).build_objective(), EAGER).initialize()
        for skip_step in (None, SkipStepConfig())
    )
    for seed in range(3):
        values = guarded.update({"tokens": batch(seed)}, 1e-2)
        assert values.skipped == 0
        assert plain.update({"tokens": batch(seed)}, 1e-2) == values._replace(skipped=None)
    for a, b in zip(plain.model.parameters(), guarded.model.parameters(), strict=True):
        assert torch.equal(a, b)
