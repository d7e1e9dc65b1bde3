"""The cost of checkpoints: reported at the step that each holds, once, and for the last one at the end."""

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from training_world import EAGER, MODEL, config

from olmo_core.artifact.identity import Step
from olmo_core.train.callbacks.callback import Callback
from olmo_core.train.callbacks.checkpoints import Checkpoints
from olmo_core.train.checkpoint.saver import Saved, Saver
from olmo_core.train.trainer import Trainer


class SlowSaver:
    """A saver whose last checkpoint is committed only when it is waited for."""

    def __init__(self, *saved: Saved) -> None:
        self.done: deque[Saved] = deque()
        self.going = list(saved)
        self.waited = 0

    def wait(self) -> None:
        self.waited += 1
        self.done.extend(self.going)
        self.going.clear()

    def committed(self) -> Iterator[Saved]:
        while self.done:
            yield self.done.popleft()


@pytest.fixture
def told() -> list[tuple[int, Mapping[str, float]]]:
    return []


def checkpoints(saver: SlowSaver, told: list[Any]) -> Checkpoints:
    return Checkpoints(cast(Saver, saver), lambda update, values: told.append((update, values)))


def test_cost_is_reported_at_the_step_of_the_checkpoint_and_once(told: list[Any]) -> None:
    saver = SlowSaver()
    callback = checkpoints(saver, told)
    callback.after(5)
    assert told == []
    saver.done.append(Saved(5, 0.25, 3.5, 1024))
    callback.after(6), callback.after(7)
    expected = {"checkpoint/blocking_seconds": 0.25, "checkpoint/seconds": 3.5, "checkpoint/bytes": 1024}
    assert told == [(5, expected)]


def test_last_checkpoint_is_waited_for_at_the_end(told: list[Any]) -> None:
    saver = SlowSaver(Saved(10, 0.1, 1.0, 8), Saved(12, 0.2, 2.0, 8))
    with checkpoints(saver, told):
        pass
    assert [update for update, _ in told] == [10, 12]
    assert saver.waited == 1


def test_failed_run_does_not_wait_for_its_checkpoint(told: list[Any]) -> None:
    saver = SlowSaver(Saved(10, 0.1, 1.0, 8))
    with pytest.raises(KeyError), checkpoints(saver, told):
        raise KeyError
    assert (saver.waited, told) == (0, [])


def test_bytes_of_a_checkpoint_are_weights_and_two_moments(tmp_path: Path, told: list[Any]) -> None:
    trainer = Trainer(MODEL, config().build_objective(), EAGER).initialize()
    with Saver(trainer, lambda *_: None, tmp_path) as saver:
        callback = Checkpoints(saver, lambda update, values: told.append((update, values)))
        with callback:
            saver.save(Step("checkpoint", "x", 1), 3, 1e-2, [])
    ((update, values),) = told
    assert update == 3
    assert values["checkpoint/bytes"] == 3 * 4 * MODEL.parameters
    assert 0 <= values["checkpoint/blocking_seconds"] <= values["checkpoint/seconds"]


def test_callback_that_overrides_nothing_does_nothing() -> None:
    with pytest.raises(KeyError), Callback() as callback:
        callback.after(1)
        assert callback.numbers(1) == {}
        raise KeyError
