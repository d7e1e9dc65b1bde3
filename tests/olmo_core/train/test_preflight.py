import re

import pytest
import torch
from training_world import MODEL, config

from olmo_core.model.config import preset
from olmo_core.train.objectives.language_modelling import LanguageModelling
from olmo_core.train.placement import TrainPlacement
from olmo_core.train.preflight import check_batch, check_memory, more_memory

HERE = TrainPlacement()


@pytest.mark.parametrize(
    ("training", "placement", "instances", "world", "message"),
    [
        (config(), HERE, 3, 1, "batch_size is 4, but the mix has only 3 instances of 16 tokens; give at most that"),
        (config(), HERE, 0, 1, "the mix has only 0 instances"),
        (
            config(batch_size=6),
            HERE,
            9,
            4,
            "batch_size 6 cannot be shared by 4 workers; 3 workers would fit, or .* of 8$",
        ),
        (
            config(batch_size=7),
            HERE,
            9,
            2,
            "batch_size 7 cannot be shared by 2 workers; 1 worker would fit, or .* of 8$",
        ),
        (config(canonical_shards=2), HERE, 9, 4, "canonical_shards 2 cannot be shared by 4 workers"),
        (
            config(canonical_shards=2),
            TrainPlacement(micro_batch=1),
            9,
            2,
            "leave placement.sharding and placement.micro_b",
        ),
        (config(canonical_shards=2), TrainPlacement(sharding="shard"), 9, 2, "leave placement.sharding and"),
    ],
)
def test_unfit_batch_error_names_what_would_fit(
    training: LanguageModelling, placement: TrainPlacement, instances: int, world: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_batch(training, placement, instances, world)


def test_fitting_run_passes() -> None:
    check_batch(config(canonical_shards=4), HERE, 4, 2)
    check_memory(MODEL, torch.device("cpu"), sharers=1)


def test_model_larger_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olmo_core.train.preflight.free_memory", lambda: 8_000_000_000)
    model = preset("olmo2-1b", vocab_size=100_278)
    with pytest.raises(ValueError, match=r"1,485M parameters takes 41\.6 GB .* cpu has 8\.0 GB free; share .* 6 work"):
        check_memory(model, torch.device("cpu"), sharers=1)
    check_memory(model, torch.device("cpu"), sharers=6)


@pytest.mark.parametrize(
    ("placement", "world", "message"),
    [
        (
            HERE,
            2,
            "of 2 sequences of 16 .* give placement.micro_batch 1 or placement.recompute blocks or .*sharding shard",
        ),
        (TrainPlacement(micro_batch=1, recompute="blocks"), 1, "of 1 sequences of 16 tokens .* give more workers$"),
    ],
)
def test_memory_error_names_settings_that_take_less(placement: TrainPlacement, world: int, message: str) -> None:
    assert re.search(message, more_memory(config(), placement, world))
