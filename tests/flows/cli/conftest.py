"""A plan and a home, for tests of commands that read the store."""

from pathlib import Path

import pytest

from flows.opening import open_store
from infra.profile import load_profile
from olmo_core.artifact.store import Store
from olmo_core.recipe.layout import lay_out
from olmo_core.recipe.plan import Plan
from olmo_core.recipe.recipe import load_recipe


@pytest.fixture(scope="module")
def plan() -> Plan:
    return lay_out(load_recipe("micro"))


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def store(empty_home: Path) -> Store:
    """The store of a home for `olmo`, still empty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OLMO_HOME", str(empty_home))
        return open_store(load_profile("laptop"))
