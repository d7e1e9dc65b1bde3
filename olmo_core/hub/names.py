"""Compute the names of revisions: `stage1-step400-tokens2M`, `stage2-ingredient2-step60-tokens250K`, `main`.

Published OLMo 2 names follow two rules: tokens are rounded up, but in stage 2 of the 7B and 13B the last checkpoint has
the token budget of the stage (50.04 billion tokens are `50B`, not `51B`). Both are here; any name can be overridden.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAIN = "main"
REPOSITORY = r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$"  # `organisation/name`, as a Hub accepts it
UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
AUTOMATIC = ("K", "M", "B")  # Published names stay in billions above a trillion: tokens3896B, tokens4001B.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CHECKPOINT = re.compile(r"(?:(?P<run>.+)-)?step(?P<step>\d+)-tokens(?P<count>\d+)(?P<unit>[KMBT])")


class RevisionNameConfig(BaseModel):
    """How the revision names of a stage state their tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounding: Literal["ceil", "nearest", "nominal"] = Field(
        "ceil",
        description="`ceil` rounds tokens up, `nearest` to the nearest (halves up), `nominal` rounds up but never "
        "above the token budget of the stage.",
    )
    unit: Literal["auto", "K", "M", "B", "T"] = Field(
        "auto", description="Unit of tokens; `auto` is the first of K, M, B that gives fewer than a thousand."
    )
    stage: bool = Field(True, description="Names begin with the stage; those of OLMo 1, which had one stage, do not.")
    overrides: dict[str, str] = Field(
        default_factory=dict, description="Computed name -> name to use instead, for branches named by hand."
    )

    @field_validator("overrides")
    @classmethod
    def _branch_names(cls, overrides: dict[str, str]) -> dict[str, str]:
        for name in overrides.values():
            check_name(name)
        return overrides


def revision_name(
    config: RevisionNameConfig, stage: str, step: int, tokens: int, budget: int, ingredient: int | None = None
) -> str:
    """Return the name of a checkpoint's revision.

    Args:
        config: the rule of the stage.
        stage: name of the stage, such as `stage1`.
        step: training steps since the stage began.
        tokens: tokens seen since the stage began.
        budget: token budget of the stage, for the `nominal` rule.
        ingredient: number of the seeded run of the stage, from 1; None if the stage has a single run.
    """
    parts = [stage] if config.stage else []
    if ingredient is not None:
        parts.append(f"ingredient{ingredient}")
    name = "-".join([*parts, f"step{step}", f"tokens{token_count(config, tokens, budget)}"])
    return check_name(config.overrides.get(name, name))


def token_count(config: RevisionNameConfig, tokens: int, budget: int) -> str:
    """Return tokens as they appear in a name, such as `250K` or `3896B`, using exact integer arithmetic."""
    units = AUTOMATIC if config.unit == "auto" else (config.unit,)
    for unit in units:
        count = _round(config.rounding, tokens, budget, UNITS[unit])
        if count < 1000:
            break
    return f"{count}{unit}"


def _round(rounding: str, tokens: int, budget: int, unit: int) -> int:
    if rounding == "nearest":
        return (tokens + unit // 2) // unit
    up = -(-tokens // unit)
    if rounding == "nominal" and budget >= unit:
        return min(up, budget // unit)
    return up


@dataclass(frozen=True)
class Place:
    """The position of a checkpoint, from the name of its revision: run ('' if the name has none), steps and tokens."""

    run: str
    step: int
    tokens: int


def place(name: str) -> Place | None:
    """Return the position in the name of a checkpoint's revision; None if it is not such a name."""
    found = _CHECKPOINT.fullmatch(name)
    if found is None or not _NAME.fullmatch(name):
        return None
    return Place(found["run"] or "", int(found["step"]), int(found["count"]) * UNITS[found["unit"]])


def check_name(name: str) -> str:
    """Return `name`, or raise ValueError if it cannot be a branch on the Hub and a file name on every system."""
    if not _NAME.fullmatch(name) or ".." in name or name.endswith((".", ".lock")):
        raise ValueError(
            f"revision name {name!r} cannot be a branch; use up to 128 letters, digits, '.', '_' or '-', beginning "
            "with a letter or digit, without '..' and not ending in '.' or '.lock'"
        )
    return name


def in_order(names: Iterable[str]) -> list[str]:
    """Return names sorted by stage, ingredient and step, numbers by value, `main` last."""
    return sorted(names, key=lambda name: (name == MAIN, [_sort_key(part) for part in re.split(r"(\d+)", name)]))


def _sort_key(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (-1, text)
