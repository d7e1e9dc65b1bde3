import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from olmo_core.artifact.identity import Step
from olmo_core.model.config import preset
from olmo_core.train.config import ScheduleConfig
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.step import checkpoint_step, run_step, saved_after

COSINE = ScheduleConfig(kind="cosine", peak=3e-4)
INHERIT = ScheduleConfig(kind="linear", peak="inherit")
MIX = Step("mix", "m", 1, {"sequence_length": 64}, {"made/00000": Step("tokens", "t", 1)})


def config(**changes: object) -> LanguageModelling:
    values = {"tokens": 64_000, "batch_size": 10, "sequence_length": 64, "seed": 1, "checkpoint_every": 30}
    return LanguageModelling.model_validate({**values, "schedule": COSINE, **changes})


@pytest.mark.parametrize(
    ("tokens", "batch_size", "steps"),
    # OLMo 2: 50B tokens at 4.19M a step end at step 11921 (7B), 100B at 8.39M at 11921 (32B).
    [(50 * 10**9, 1024, 11921), (100 * 10**9, 2048, 11921), (11921 * 1024 * 4096, 1024, 11921)],
)
def test_steps_round_up_to_whole_batches(tokens: int, batch_size: int, steps: int) -> None:
    schedule = ScheduleConfig(kind="linear", peak=6e-5)
    assert config(tokens=tokens, batch_size=batch_size, sequence_length=4096, schedule=schedule).steps == steps


@given(st.integers(640, 10**6), st.integers(1, 400))
def test_checkpoint_steps_are_regular_and_include_the_last(tokens: int, every: int) -> None:
    training = config(tokens=tokens, checkpoint_every=every)
    steps = saved_after(training)
    assert steps[-1] == training.steps
    assert list(steps) == sorted(set(steps))
    assert all(step % every == 0 for step in steps[:-1])
    assert len(steps) == -(-training.steps // every)


def test_seed_and_schedule_bear_identity_but_name_does_not() -> None:
    model = preset("micro")
    first = run_step("a", config(), model, MIX)
    assert run_step("b", config(), model, MIX).id == first.id
    assert run_step("a", config(seed=2), model, MIX).id != first.id
    assert run_step("a", config(schedule=COSINE.model_copy(update={"final": 0.5})), model, MIX).id != first.id
    assert run_step("a", config(), preset("micro", n_layers=3), MIX).id != first.id
    assert checkpoint_step(first, 30).id != checkpoint_step(first, 60).id
    assert first.inputs.keys() == {"mix", "made/00000"}


def test_unused_settings_are_not_part_of_identity() -> None:
    """The ids of runs made before a capability existed do not change."""
    fields = run_step("a", config(), preset("micro"), MIX).fields
    assert set(fields) == {
        *("objective", "batch_size", "sequence_length", "precision", "z_loss", "max_grad_norm"),
        *("checkpoint_every", "optimizer", "schedule", "tokens", "seed", "model"),
    }
    assert set(fields["schedule"]) == {"kind", "peak", "warmup", "final", "decay", "horizon"}
    in_steps = run_step("a", config(schedule=COSINE.model_copy(update={"unit": "steps"})), preset("micro"), MIX)
    assert in_steps.fields["schedule"]["unit"] == "steps"


def test_rate_is_inherited_only_from_checkpoint() -> None:
    model, training = preset("micro"), config(schedule=INHERIT)
    start = checkpoint_step(run_step("a", config(), model, MIX), 30)
    assert run_step("b", training, model, MIX, start).inputs["start"] is start
    with pytest.raises(ValueError, match="the run has no start; give the rate"):
        run_step("b", training, model, MIX)
    with pytest.raises(ValueError, match="starts from soup/s, which has no rate; give the rate"):
        run_step("b", training, model, MIX, Step("soup", "s", 1))


def test_rate_of_zero_cannot_be_inherited() -> None:
    model, training = preset("micro"), config(schedule=INHERIT)
    first = run_step("a", config(), model, MIX)
    ended = run_step("b", training, model, MIX, checkpoint_step(first, 30))
    with pytest.raises(
        ValueError, match=r"c: schedule\.peak is inherit, but checkpoint/b-step100 ends at rate 0; give"
    ):
        run_step("c", training, model, MIX, checkpoint_step(ended, 100))
    assert run_step("c", training, model, MIX, checkpoint_step(ended, 90))


def test_unfit_sequence_lengths_are_refused_when_planning() -> None:
    with pytest.raises(ValueError, match="sequence_length 64 is longer than the model's context_length 32"):
        run_step("a", config(), preset("micro", context_length=32), MIX)
    with pytest.raises(ValueError, match="sequence_length is 32, but mix/m has instances of 64"):
        run_step("a", config(sequence_length=32), preset("micro"), MIX)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": {"kind": "cosine", "peak": 0}}, "give a rate above zero"),
        ({"schedule": {"kind": "wsd", "peak": 1e-3}}, "wsd needs decay"),
        ({"schedule": {"kind": "cosine", "peak": 1e-3, "decay": 5}}, "the other kinds have none"),
        (
            {"schedule": {"kind": "cosine", "peak": 1e-3, "warmup": 64_641}},
            "take 64,641 tokens, the schedule has 64,640",
        ),
        (
            {"schedule": {"kind": "wsd", "peak": 1e-3, "unit": "steps", "warmup": 80, "decay": 22}},
            "take 102 steps, the schedule has 101",
        ),
        ({"schedule": {"kind": "cosine", "peak": 1e-3, "warmups": 1}}, "warmups"),
        ({"precision": "fp16"}, "precision"),
        ({"tokens": 0}, "tokens"),
    ],
)
def test_invalid_setting_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**{"tokens": 64_640, **changes})


def test_planning_a_run_does_not_import_torch() -> None:
    code = "import sys, olmo_core.train.step; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
