"""Names of revisions, computed: `stage1-step400-tokens2M`, `stage2-ingredient2-step60-tokens250K`, `main`.

Published OLMo 2 names show two rules: tokens are rounded up, and in stage 2 of the 7B and 13B the last checkpoint
carries the budget of the stage instead (50.04 billion tokens are `50B`, not `51B`). Both are here, as is an override.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAIN = "main"
REPOSITORY = r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$"  # `organisation/name`, as a Hub takes it
UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
AUTOMATIC = ("K", "M", "B")  # Published names stay in billions above a trillion: tokens3896B, tokens4001B.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CHECKPOINT = re.compile(r"(?:(?P<run>.+)-)?step(?P<step>\d+)-tokens(?P<count>\d+)(?P<unit>[KMBT])")


class RevisionNameConfig(BaseModel):
    """How the revisions of a stage are named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounding: Literal["ceil", "nearest", "nominal"] = Field(
        "ceil",
        description="How tokens are rounded: `ceil` up, `nearest` to the nearest (halves up), `nominal` up but never "
        "beyond the token budget of the stage.",
    )
    unit: Literal["auto", "K", "M", "B", "T"] = Field(
        "auto", description="Unit of tokens; `auto` takes the first of K, M, B that gives fewer than a thousand."
    )
    stage: bool = Field(True, description="Begin names with the stage; OLMo 1, which had one, did not.")
    overrides: dict[str, str] = Field(
        default_factory=dict, description="Computed name → name to use instead, for branches that were named by hand."
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
        budget: tokens the stage was asked to see; the `nominal` rule goes by it.
        ingredient: which seeded run of the stage, from 1; None where the stage has a single run.
    """
    parts = [stage] if config.stage else []
    if ingredient is not None:
        parts.append(f"ingredient{ingredient}")
    name = "-".join([*parts, f"step{step}", f"tokens{token_count(config, tokens, budget)}"])
    return check_name(config.overrides.get(name, name))


def token_count(config: RevisionNameConfig, tokens: int, budget: int) -> str:
    """Return tokens as a name writes them, such as `250K` or `3896B`, in exact integer arithmetic."""
    units = AUTOMATIC if config.unit == "auto" else (config.unit,)
    for unit in units:
        count = _rounded(config.rounding, tokens, budget, UNITS[unit])
        if count < 1000:
            break
    return f"{count}{unit}"


def _rounded(rounding: str, tokens: int, budget: int, unit: int) -> int:
    if rounding == "nearest":
        return (tokens + unit // 2) // unit
    up = -(-tokens // unit)
    if rounding == "nominal" and budget >= unit:
        return min(up, budget // unit)
    return up


@dataclass(frozen=True)
class Place:
    """Where a checkpoint stands, as its revision's name tells: which run ('' where it has no name), steps, tokens."""

    run: str
    step: int
    tokens: int


def place(name: str) -> Place | None:
    """Return what the name of a checkpoint's revision tells; None where it is not such a name."""
    found = _CHECKPOINT.fullmatch(name)
    if found is None or not _NAME.fullmatch(name):
        return None
    return Place(found["run"] or "", int(found["step"]), int(found["count"]) * UNITS[found["unit"]])


def check_name(name: str) -> str:
    """Return `name` if it can be a branch on the Hub and a file name everywhere, else raise ValueError."""
    if not _NAME.fullmatch(name) or ".." in name or name.endswith((".", ".lock")):
        raise ValueError(
            f"revision name {name!r} cannot be a branch; use up to 128 letters, digits, '.', '_' or '-', beginning "
            "with a letter or digit, without '..' and not ending in '.' or '.lock'"
        )
    return name


def in_order(names: Iterable[str]) -> list[str]:
    """Return names by stage, ingredient and step, numbers by their value, `main` last."""
    return sorted(names, key=lambda name: (name == MAIN, [_part(part) for part in re.split(r"(\d+)", name)]))


def _part(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdecimal() else (-1, text)
