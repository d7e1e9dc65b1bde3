"""Bits per byte of held-out text, against cross-entropy computed token by token."""

import math
from collections.abc import Callable

import pytest
import torch
from training_world import MODEL, config

from olmo_core.evaluate.scorer import Tree
from olmo_core.model.transformer import Transformer
from olmo_core.train.callbacks.heldout import Heldout, Text
from olmo_core.train.history import History
from olmo_core.train.step_values import StepValues

WINDOWS = {"heldout/long": [[0, 3, 9, 27, 17, 51], [0, 60]], "heldout/short": [[0, 5]]}
BYTES = {"heldout/long": 21, "heldout/short": 3}


@pytest.fixture(scope="module")
def model() -> Transformer:
    model = Transformer(MODEL).initialize(torch.Generator().manual_seed(2))
    with torch.no_grad():  # far from uniform, so that a shifted token would show
        model.head.weight.mul_(40)
    return model


def texts(change: Callable[[list[int]], list[int]] = list) -> dict[str, Text]:
    return {
        role: Text([Tree.of([(window[:1], change(window[1:]))]) for window in windows], BYTES[role])
        for role, windows in WINDOWS.items()
    }


def history_of(*updates: int) -> History:
    history = History(config(), dict)
    for update in updates:
        history.add(update, 1e-2, StepValues({"loss": torch.ones(())}, torch.ones(())))
    return history


def test_bits_per_byte_are_cross_entropy_over_bytes(model: Transformer) -> None:
    history = history_of(4)
    Heldout(4, texts(), model, 1, history).after(4)
    (row,) = history.read()
    for role, windows in WINDOWS.items():
        nats = 0.0
        for window in windows:
            logits = model(torch.tensor([window[:-1]]))[0].double().log_softmax(-1)
            nats -= sum(logits[place, token].item() for place, token in enumerate(window[1:]))
        assert row[f"{role}/bits_per_byte"] == pytest.approx(nats / math.log(2) / BYTES[role], rel=1e-5)


def test_other_text_has_other_bits(model: Transformer) -> None:
    history = history_of(1, 2)
    Heldout(1, texts(), model, 1, history).after(1)
    Heldout(1, texts(lambda window: [(token + 1) % 64 for token in window]), model, 1, history).after(2)
    first, second = history.read()
    assert all(abs(first[f"{role}/bits_per_byte"] / second[f"{role}/bits_per_byte"] - 1) > 0.01 for role in WINDOWS)


def test_text_is_scored_every_so_many_steps_and_leaves_training_as_it_was(model: Transformer) -> None:
    history = history_of(*range(1, 8))
    model.train()
    heldout = Heldout(3, texts(), model, 1, history)
    for update in range(1, 8):
        heldout.after(update)
    scored = [row["step"] for row in history.read() if "heldout/short/bits_per_byte" in row]
    assert scored == [3, 6]
    assert model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_number_of_threads_changes_no_bit(model: Transformer) -> None:
    rows = []
    for threads in (1, 2, 3):
        history = history_of(1)
        Heldout(1, texts(), model, threads, history).after(1)
        rows += history.read()
    assert rows[0] == rows[1] == rows[2]
