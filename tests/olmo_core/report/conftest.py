"""A complete synthetic release of the recipe `micro`, made once per session."""

import pytest
from report_world import fill, plan_of

from olmo_core.artifact.store import Store
from olmo_core.recipe.compute import Compute
from olmo_core.recipe.plan import Plan


@pytest.fixture(scope="session")
def compute() -> Compute:
    return Compute(name="laptop")


@pytest.fixture(scope="session")
def plan() -> Plan:
    return plan_of()


@pytest.fixture(scope="session")
def store(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store of the release, read-only: a test that changes records creates its own store."""
    store = Store(tmp_path_factory.mktemp("store"))
    fill(plan, store)
    return store
