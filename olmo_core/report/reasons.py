"""Why the steps of a plan run: each reason once, so that a few lines cover thousands of steps."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from olmo_core.artifact.identity import Step
from olmo_core.artifact.why import ABSENT, Difference, Why

NO_RECORD = "no record"
CHANGED_CODE = "code changed since"
NAMED = 3  # differences of one step that are named; further ones are counted
MANY = 12  # with this many differences, a record belongs to another recipe that uses the same name
VALUE_CHARACTERS = 30


@dataclass
class Reason:
    """A reason why steps run, or a note on steps that are reused.

    Attributes:
        text: the reason.
        action: `run` or `reuse`.
        steps: number of steps it applies to.
        parts: the parts those steps belong to.
        origins: the steps whose declared values changed, if that is the reason.
    """

    text: str
    action: str
    steps: int = 0
    parts: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)


def reasons(found: Iterable[tuple[str, Step, Why]]) -> list[Reason]:
    """Merge (part, step, why it runs or is reused) into reasons: to run first, then by number of steps."""
    known: dict[tuple[str, str], Reason] = {}
    for part, step, verdict in found:
        action = "reuse" if verdict.hit else "run"
        for text, origins in _texts(step, verdict).items():
            reason = known.setdefault((action, text), Reason(text, action))
            reason.steps += 1
            reason.parts += [part] if part not in reason.parts else []
            reason.origins += [each for each in origins if each not in reason.origins]
    return sorted(known.values(), key=lambda reason: (reason.action == "reuse", -reason.steps))


def _texts(step: Step, verdict: Why) -> dict[str, list[str]]:
    """Return reason -> labels of the steps where the change began."""
    if verdict.differences and verdict.nearest.rpartition("-")[0] != step.label:
        return {NO_RECORD: []}
    if verdict.differences:
        found: dict[str, list[str]] = {}
        for each in verdict.differences:
            found.setdefault(_difference(each), []).append(each.step)
        if len(found) >= MANY:
            return {NO_RECORD: []}
        if len(found) <= NAMED:
            return found
        fields = list(dict.fromkeys(_field(each) for each in verdict.differences))
        more = len(fields) - NAMED
        others = f" and {more} more {'value' if more == 1 else 'values'}" if more > 0 else ""
        return {f"{', '.join(fields[:NAMED])}{others} changed": []}
    if verdict.code_changed and verdict.reason.startswith("complete"):
        return {CHANGED_CODE: []}
    if verdict.hit:
        return {}
    return {NO_RECORD if verdict.reason.startswith("no ") else verdict.reason: []}


def _difference(difference: Difference) -> str:
    name, was, now = _field(difference), _value(difference.recorded), _value(difference.wanted)
    if difference.path.startswith("inputs.") and ABSENT not in (difference.recorded, difference.wanted):
        return f"{name} changed"
    if difference.wanted == ABSENT:
        return f"{name} was removed"
    return f"{name} was added" if difference.recorded == ABSENT else f"{name} changed: {now}, was {was}"


def _field(difference: Difference) -> str:
    path = difference.path
    return f"input {path[7:]}" if path.startswith("inputs.") else path.removeprefix("fields.")


def _value(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= VALUE_CHARACTERS else f"{text[: VALUE_CHARACTERS - 3]}..."
