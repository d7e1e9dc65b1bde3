"""What a flow refuses is its state's message, and an exception for whoever called it as a function."""

from typing import Any

import pytest

from flows.refusal import refusing
from infra.services.errors import ServiceError
from olmo_core.artifact.make import MissingInputError
from olmo_core.recipe.overrides import ConfigError
from tasks.failures import StepsFailedError


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


def test_what_goes_wrong_later_is_raised() -> None:
    @refusing
    def flow() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        flow()
