"""The fixture of an uninterrupted run in the small world, as the reference for resumed runs."""

import pytest
from training_world import train_here

from olmo_core.artifact.identity import Step
from olmo_core.artifact.store import Store


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Step]:
    """Return the store and step of an uninterrupted run."""
    folder = str(tmp_path_factory.mktemp("whole"))
    return Store(folder), train_here(folder).artifact.step
