"""The base class of all mappings in recipes and profiles."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping in a recipe or profile: immutable, without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)
