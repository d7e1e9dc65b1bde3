"""The table of objectives, one row each: the class of a run, found by the name that recipes use.

A new objective is one file in this folder and one row here; nothing else names it.
"""

from collections.abc import Mapping
from typing import Any, get_args

from olmo_core.train.config import TrainingConfig
from olmo_core.train.objectives.language_modelling import LanguageModelling

_TABLE: tuple[type[TrainingConfig], ...] = (LanguageModelling,)
OBJECTIVES = {get_args(row.model_fields["objective"].annotation)[0]: row for row in _TABLE}
DEFAULT = next(iter(OBJECTIVES))  # for a stage that names none


def training_of(fields: Mapping[str, Any]) -> TrainingConfig:
    """Return the config of the run with these fields, as the class of its objective."""
    of_run = {name: fields[name] for name in fields if name not in ("model", "changed")}
    return OBJECTIVES[fields["objective"]].model_validate(of_run)
