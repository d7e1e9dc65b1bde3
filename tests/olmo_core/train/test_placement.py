"""Placements of all kinds share device and threads; each room adds the settings that it needs."""

import pytest

from olmo_core.artifact.job import Placement
from olmo_core.hub.placement import HubPlacement
from olmo_core.train.placement import TrainPlacement


@pytest.mark.parametrize(
    "given", [Placement(device="cuda", threads=3), HubPlacement(device="cuda", threads=3, hub="x")]
)
def test_plain_placement_keeps_device_and_threads_in_training(given: Placement) -> None:
    assert TrainPlacement.of(given) == TrainPlacement(device="cuda", threads=3)


def test_training_placement_is_used_unchanged() -> None:
    given = TrainPlacement(micro_batch=2, sharding="shard")
    assert TrainPlacement.of(given) is given and Placement.of(given) is given
