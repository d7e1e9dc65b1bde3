"""What a flow refuses is its state's message, and an exception for whoever called it as a function."""

import logging
from typing import Any

import pytest

from flows.errors import refusing
from infra.services.errors import ServiceError
from olmo_core.artifact.make import MissingInputError
from olmo_core.recipe.overrides import ConfigError
from tasks.workers.failures import StepsFailedError


@pytest.mark.parametrize("kind", [ConfigError, MissingInputError, ServiceError, StepsFailedError])
def test_what_is_refused_is_a_failed_state_with_one_line(kind: type[Exception]) -> None:
    error = kind("recipe mine: no such field; did you mean 'seeds'?")

    @refusing
    def flow(recipe: str) -> str:
        """Do."""
        raise error

    state: Any = flow("mine")
    assert (state.type.value, state.message, state.data) == ("FAILED", str(error.args[0]), error)
    assert (flow.__doc__, flow.__annotations__["recipe"]) == ("Do.", str), "the form is made from these"


@pytest.mark.parametrize(
    ("error", "said"), [(ConfigError("no such field"), "run 1 ended: no such field"), (KeyError("x"), "run 1 ended")]
)
def test_the_log_of_a_run_has_tracebacks_only_of_what_nobody_foresaw(error: Exception, said: str) -> None:
    log = logging.getLogger("prefect.flow_runs")
    record = log.makeRecord(log.name, logging.ERROR, __file__, 1, "run %s ended", (1,), (type(error), error, None))
    assert log.filter(record)
    assert record.getMessage() == said
    assert (record.exc_info is None) is isinstance(error, ConfigError)


def test_what_goes_wrong_later_is_raised() -> None:
    @refusing
    def flow() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        flow()
