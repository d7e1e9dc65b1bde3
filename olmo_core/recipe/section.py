"""What every mapping in a recipe or profile has in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping in a recipe or profile: its fields and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)
