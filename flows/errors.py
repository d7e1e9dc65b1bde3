"""Errors whose messages say all there is to say: a command prints them, a flow ends in them, both in one line."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from infra.services.errors import ServiceError
from olmo_core.artifact.make import MissingInputError
from olmo_core.recipe.overrides import ConfigError
from tasks.workers.failures import EndedError, StepsFailedError

TOLD = (ConfigError, MissingInputError, ServiceError, StepsFailedError)


def message(error: BaseException) -> str:
    """Return what an error says; `str` of a LookupError would put it in quotes."""
    return str(error.args[0] if error.args else error)


Given = ParamSpec("Given")
Result = TypeVar("Result")


class WithoutTraceback(logging.Filter):
    """Takes the traceback of what was told already off the log of a flow run; its process logs what a run ended by."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if record.exc_info and isinstance(error := record.exc_info[1], TOLD):
            record.msg, record.args, record.exc_info = f"{record.getMessage()}: {message(error)}", (), None
        return True


logging.getLogger("prefect.flow_runs").addFilter(WithoutTraceback())


def refusing(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let a flow end in the state `Failed` with the message of what it refuses; called as a function, it raises that.

    Asked to end, it ends in the state `Cancelled`, and raises that it was.

    Prefect would show an exception that is raised with its whole traceback, of which no line helps. That of a step is
    in the step's own log.
    """

    @wraps(function)
    def run(*arguments: Given.args, **options: Given.kwargs) -> Result:
        from prefect.states import Cancelled, Failed  # takes 2 s, which `olmo plan` has no use for

        try:
            return function(*arguments, **options)
        except TOLD as error:
            state: Any = Failed(message=message(error), data=error)
        except EndedError as error:
            state = Cancelled(message=message(error), data=error)
        return state  # type: ignore[no-any-return]

    return run
