"""An expected error is the message of a flow's state, and an exception for a caller of the flow as a function."""

import logging
from typing import Any

import pytest

from flows.errors import refusing
from infra.services.errors import ServiceError
from olmo_core.artifact.make import MissingInputError
from olmo_core.recipe.overrides import ConfigError
from tasks.workers.failures import StepsFailedError


@pytest.mark.parametrize("kind", [ConfigError, MissingInputError, ServiceError, StepsFailedError])
def test_expected_error_becomes_failed_state(kind: type[Exception]) -> None:
    error = kind("recipe mine: no such field; did you mean 'seeds'?")

    @refusing
    def flow(recipe: str) -> str:
        """Do."""
        raise error

    state: Any = flow("mine")
    assert (state.type.value, state.message, state.data) == ("FAILED", str(error.args[0]), error)
    assert (flow.__doc__, flow.__annotations__["recipe"]) == ("Do.", str), "Prefect makes the form from these"


@pytest.mark.parametrize(
    ("error", "message"), [(ConfigError("no such field"), "run 1 ended: no such field"), (KeyError("x"), "run 1 ended")]
)
def test_only_unexpected_errors_have_tracebacks(error: Exception, message: str) -> None:
    log = logging.getLogger("prefect.flow_runs")
    record = log.makeRecord(log.name, logging.ERROR, __file__, 1, "run %s ended", (1,), (type(error), error, None))
    assert log.filter(record)
    assert record.getMessage() == message
    assert (record.exc_info is None) is isinstance(error, ConfigError)


def test_unexpected_error_is_raised() -> None:
    @refusing
    def flow() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        flow()
