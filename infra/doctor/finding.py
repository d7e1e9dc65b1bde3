"""The result of one check of the doctor: fine, or one line with the fault and the remedy."""

from collections.abc import Callable
from dataclasses import dataclass

from infra.profile import Profile


@dataclass(frozen=True)
class Finding:
    """The subject of a check, what the check saw, and the remedy; no remedy means that it is fine."""

    what: str
    seen: str
    remedy: str = ""

    @property
    def fine(self) -> bool:
        """Whether nothing has to be done."""
        return not self.remedy


class WrongError(Exception):
    """A check failed; the arguments are what was seen and the remedy."""


Check = Callable[[Profile], str]  # returns what was seen, or raises WrongError


def finding(what: str, check: Check, profile: Profile) -> Finding:
    """Run a check and return its finding."""
    try:
        return Finding(what, check(profile))
    except WrongError as error:
        seen, remedy = error.args
        return Finding(what, seen, remedy)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or of its `reason` if it has one."""
    reason = getattr(error, "reason", None) or error
    return (str(reason).strip().splitlines() or [type(error).__name__])[0]
