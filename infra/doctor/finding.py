"""One thing the doctor looked at: fine, or one line that says what is wrong and what to do."""

from collections.abc import Callable
from dataclasses import dataclass

from infra.profile import Profile


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was seen, and what to do where it is not fine."""

    what: str
    seen: str
    remedy: str = ""

    @property
    def fine(self) -> bool:
        """Whether nothing has to be done."""
        return not self.remedy


class WrongError(Exception):
    """Something is not fine: what was seen, and the remedy."""


Check = Callable[[Profile], str]  # returns what was seen, or raises WrongError


def finding(what: str, check: Check, profile: Profile) -> Finding:
    """Return what a check finds."""
    try:
        return Finding(what, check(profile))
    except WrongError as error:
        seen, remedy = error.args
        return Finding(what, seen, remedy)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, of the reason behind it where it has one."""
    reason = getattr(error, "reason", None) or error
    return (str(reason).strip().splitlines() or [type(error).__name__])[0]
