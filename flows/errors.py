"""Expected errors, whose message is complete: a command prints it, a flow ends with it, both in one line."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from infra.services.errors import ServiceError
from olmo_core.artifact.make import MissingInputError
from olmo_core.recipe.overrides import ConfigError
from tasks.workers.failures import EndedError, StepsFailedError

EXPECTED_ERRORS = (ConfigError, MissingInputError, ServiceError, StepsFailedError)


def message(error: BaseException) -> str:
    """Return the message of an error; `str` of a LookupError would put it in quotes."""
    return str(error.args[0] if error.args else error)


Given = ParamSpec("Given")
Result = TypeVar("Result")


class WithoutTraceback(logging.Filter):
    """Removes the traceback of expected errors from the log of a flow run."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the traceback of an expected error by its message; keep every record."""
        if record.exc_info and isinstance(error := record.exc_info[1], EXPECTED_ERRORS):
            record.msg, record.args, record.exc_info = f"{record.getMessage()}: {message(error)}", (), None
        return True


logging.getLogger("prefect.flow_runs").addFilter(WithoutTraceback())


def refusing(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorate a flow to end in the state `Failed` with the message of an expected error.

    A flow that is asked to end gets the state `Cancelled`. A call of the flow as a function raises the error.

    Prefect would show the whole traceback of a raised exception, which does not help here. The traceback of a step is
    in the step's own log.
    """

    @wraps(function)
    def run(*arguments: Given.args, **options: Given.kwargs) -> Result:
        from prefect.states import Cancelled, Failed  # takes 2 s, which `olmo plan` does not need

        try:
            return function(*arguments, **options)
        except EXPECTED_ERRORS as error:
            state: Any = Failed(message=message(error), data=error)
        except EndedError as error:
            state = Cancelled(message=message(error), data=error)
        return state  # type: ignore[no-any-return]

    return run
