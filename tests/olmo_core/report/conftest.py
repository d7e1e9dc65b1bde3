"""A whole synthetic release on the recipe of test size, made once."""

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
    """Only read by the tests; one that changes records makes a store of its own."""
    store = Store(tmp_path_factory.mktemp("store"))
    fill(plan, store)
    return store
