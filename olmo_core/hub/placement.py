"""How a step that may fetch a model is placed. The Hub bears no identity: a commit has one content on all of them."""

from pydantic import Field

from olmo_core.artifact.job import Placement


class HubPlacement(Placement):
    """Device and threads of a step, and the Hub it may fetch a model from."""

    hub: str | None = Field(
        default=None,
        description="Hub that models trained elsewhere are downloaded from; HF_ENDPOINT, else huggingface.co, if not "
        "given.",
    )
