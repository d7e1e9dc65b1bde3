"""What a flow refuses before it starts, and which steps failed, is one line in its state and its log."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect.states import Failed

from infra.services.errors import ServiceError
from olmo_core.artifact.make import MissingInputError
from olmo_core.recipe.overrides import ConfigError
from tasks.failures import StepsFailedError

Given = ParamSpec("Given")
Result = TypeVar("Result")


def refusing(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let a flow end in the state `Failed` with the message of what it refuses; called as a function, it raises that.

    Prefect would show an exception that is raised with its whole traceback, of which no line helps. That of a step is
    in the step's own log.
    """

    @wraps(function)
    def run(*arguments: Given.args, **options: Given.kwargs) -> Result:
        try:
            return function(*arguments, **options)
        except (ConfigError, MissingInputError, ServiceError, StepsFailedError) as error:
            failed: Any = Failed(message=str(error.args[0] if error.args else error), data=error)
            return failed  # type: ignore[no-any-return]

    return run
