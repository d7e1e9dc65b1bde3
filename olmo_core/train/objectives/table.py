"""Every objective, one row each: the class of its runs by the name that recipes give it.

A new objective is one file beside this one and one row; nothing else names it.
"""

from collections.abc import Mapping
from typing import Any, get_args

from olmo_core.train.config import TrainingConfig
from olmo_core.train.objectives.language_modelling import LanguageModelling

_TABLE: tuple[type[TrainingConfig], ...] = (LanguageModelling,)
OBJECTIVES = {get_args(row.model_fields["objective"].annotation)[0]: row for row in _TABLE}
DEFAULT = next(iter(OBJECTIVES))  # of a stage that names none


def training_of(fields: Mapping[str, Any]) -> TrainingConfig:
    """Return how the run with these fields trains, as the class of its objective."""
    of_run = {name: fields[name] for name in fields if name not in ("model", "changed")}
    return OBJECTIVES[fields["objective"]].model_validate(of_run)
