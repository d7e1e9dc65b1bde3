"""Placements of all kinds share device and threads; each room reads what it needs beside them."""

import pytest

from olmo_core.artifact.job import Placement
from olmo_core.hub.placement import HubPlacement
from olmo_core.train.placement import TrainPlacement


@pytest.mark.parametrize(
    "given", [Placement(device="cuda", threads=3), HubPlacement(device="cuda", threads=3, hub="x")]
)
def test_another_placement_keeps_its_device_and_threads_in_training(given: Placement) -> None:
    assert TrainPlacement.of(given) == TrainPlacement(device="cuda", threads=3)


def test_a_placement_for_training_is_taken_as_it_is() -> None:
    given = TrainPlacement(micro_batch=2, sharding="shard")
    assert TrainPlacement.of(given) is given and Placement.of(given) is given
