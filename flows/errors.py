"""Errors whose messages say all there is to say: a command prints them, a flow ends in them, both in one line."""

from infra.services.errors import ServiceError
from olmo_core.artifact.make import MissingInputError
from olmo_core.recipe.overrides import ConfigError
from tasks.workers.failures import StepsFailedError

TOLD = (ConfigError, MissingInputError, ServiceError, StepsFailedError)


def message(error: BaseException) -> str:
    """Return what an error says; `str` of a LookupError would put it in quotes."""
    return str(error.args[0] if error.args else error)
