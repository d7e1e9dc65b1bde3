"""The shape of a model, what it costs, and the named presets of `presets.yaml`.

Light on purpose: planning a release reads this file and never imports torch. The network itself is in `transformer`.
"""

import difflib
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from olmo_core.artifact.identity import unused

OLMO1_NORM_EPS = (
    1e-5  # Not in any config: OLMo's default for a LayerNorm, and written out in transformers' OlmoLayerNorm.
)
VOCAB_MULTIPLE = 128  # Rows of embedding and head are a multiple of this, as in OLMo 2 (100278 ids -> 100352 rows).
# Files of a model's folder; checkpoints, soups and models from elsewhere all have them.
CONFIG_FILE = "model.json"
WEIGHTS_FILE = "model.safetensors"


class ModelConfig(BaseModel):
    """A transformer of OLMo 2 or OLMo 1. Defaults are what all sizes of OLMo 2 share (OLMo, configs/official-1124).

    A field that only OLMo 1 sets is left out of a dump at its default, so that it changes no identity of an OLMo 2.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: Literal["olmo2", "olmo1"] = Field(
        "olmo2",
        exclude_if=lambda value: value == "olmo2",
        description="Type of the blocks: `olmo2` normalises what a sublayer adds, and queries and keys, with gains; "
        "`olmo1` what a sublayer reads, without gains.",
    )

    d_model: int = Field(ge=2, description="Width of the residual stream.")
    n_layers: int = Field(ge=1, description="Number of transformer blocks.")
    n_heads: int = Field(ge=1, description="Query heads of attention; must divide `d_model`.")
    n_kv_heads: int = Field(
        ge=1, description="Key and value heads; must divide `n_heads`, and equals it when not given."
    )
    hidden_size: int = Field(ge=1, description="Width of the SwiGLU feed-forward layer.")
    vocab_size: int = Field(
        ge=2, description="Token ids of the tokenizer, before padding; a recipe fills it in from its tokenizer."
    )
    rows: int | None = Field(
        None,
        exclude_if=unused,
        description="Rows of embedding and head, for models trained elsewhere that have another number than "
        "`vocab_size` rounded up to a multiple of 128.",
    )
    context_length: int = Field(ge=2, description="Longest sequence that the model is meant for, in tokens.")
    rope_theta: float = Field(500_000.0, gt=0, description="Base of the rotary position frequencies.")
    norm_eps: float = Field(1e-6, gt=0, description="Epsilon inside every norm.")
    tied_embeddings: bool = Field(
        False, exclude_if=unused, description="Use the matrix of the embedding as the head too."
    )
    clip_qkv: float | None = Field(
        None,
        gt=0,
        exclude_if=unused,
        description="Clip queries, keys and values to this absolute value; for `olmo1` only.",
    )
    init: Literal["normal", "mitchell"] = Field(
        "normal",
        exclude_if=lambda value: value == "normal",
        description="First weights, truncated at three deviations: `normal` draws all with `init_std`; `mitchell` by "
        "the width that they read, and smaller in deeper blocks where they write to the residual stream.",
    )
    init_std: float = Field(0.02, gt=0, description="Standard deviation of the `normal` first weights.")

    @model_validator(mode="before")
    @classmethod
    def _default_kv_heads(cls, values: Any) -> Any:
        # Filled in rather than left None: a default written out and one left out must be the same identity.
        if isinstance(values, dict) and values.get("n_kv_heads") is None and "n_heads" in values:
            return {**values, "n_kv_heads": values["n_heads"]}
        return values

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        _must_divide("n_heads", self.n_heads, "d_model", self.d_model)
        _must_divide("n_kv_heads", self.n_kv_heads, "n_heads", self.n_heads)
        if self.head_dim % 2:
            raise ValueError(
                f"n_heads={self.n_heads} gives heads of odd width {self.head_dim}; rotary positions turn pairs, "
                "so d_model / n_heads must be even"
            )
        return self

    @model_validator(mode="after")
    def _a_row_for_every_id(self) -> Self:
        if self.rows is not None and self.rows < self.vocab_size:
            raise ValueError(
                f"rows={self.rows} are fewer than the {self.vocab_size} ids of vocab_size; give at least that"
            )
        return self

    @model_validator(mode="after")
    def _as_the_architecture_has_it(self) -> Self:
        if self.architecture == "olmo2" and self.clip_qkv is not None:
            raise ValueError(f"clip_qkv={self.clip_qkv}: olmo2 norms queries and keys instead; only olmo1 clips them")
        if self.architecture == "olmo1" and self.norm_eps != OLMO1_NORM_EPS:
            raise ValueError(f"norm_eps={self.norm_eps}: olmo1 has no other than {OLMO1_NORM_EPS}; give that")
        return self

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding and of the head: `rows`, else the vocabulary rounded up to a multiple of 128."""
        return self.rows or padded(self.vocab_size)

    @property
    def parameters(self) -> int:
        """All trained numbers, padding rows of embedding and head included (the official counts include them)."""
        tables = 1 if self.tied_embeddings else 2
        return self.non_embedding_parameters + tables * self.padded_vocab_size * self.d_model

    @property
    def non_embedding_parameters(self) -> int:
        """All trained numbers but those of the input embedding and of the head."""
        gains = self.n_layers * (3 * self.d_model + self.n_kv_heads * self.head_dim) + self.d_model
        return self._block_matrices + (gains if self.architecture == "olmo2" else 0)

    @property
    def _block_matrices(self) -> int:
        attention = 2 * self.d_model * self.d_model + 2 * self.d_model * self.n_kv_heads * self.head_dim
        return self.n_layers * (attention + 3 * self.d_model * self.hidden_size)

    def differences(self, other: Self, intended: Collection[str] = ()) -> list[str]:
        """Return how the network of `other` differs: nothing where it computes the same with the same weights.

        The initialisation, the longest sequence and the padding rows of the vocabulary are not part of the network.

        Args:
            other: shape to compare with.
            intended: fields that differ on purpose.
        """
        apart = {"vocab_size", "rows", "context_length", "init", "init_std", *intended}
        names = [*(name for name in type(self).model_fields if name not in apart), "padded_vocab_size"]
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in names]
        return [f"{name} is {own} and {theirs}" for name, own, theirs in pairs if own != theirs]

    def flops_per_token(self, sequence_length: int, count: Literal["causal", "full"] = "causal") -> int:
        """Floating point operations of forward and backward pass for one token of a sequence of this many tokens.

        Two per multiply-add, three passes over every matrix (head included, embedding look-up not). `causal` counts the
        half of the attention scores that the mask keeps, `full` counts them all (the convention of the PaLM report,
        appendix B). Nothing is added for recomputation.
        """
        scores = {"causal": 6, "full": 12}[count] * self.n_layers * self.d_model * sequence_length
        return 6 * (self._block_matrices + self.padded_vocab_size * self.d_model) + scores


def padded(vocab_size: int) -> int:
    """Return how many rows a vocabulary has in our models: rounded up to a multiple of 128."""
    return -(-vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


def preset(name: str, **changes: object) -> ModelConfig:
    """Return the preset of this name, with fields replaced by `changes` and everything checked again.

    Raises:
        ValueError: no preset has this name; names the nearest ones.
    """
    shapes = presets()
    if name not in shapes:
        near = difflib.get_close_matches(name, shapes, n=1) or sorted(shapes)
        raise ValueError(f"no model preset is called {name!r}; the nearest is {near[0]!r}, all are {sorted(shapes)}")
    return ModelConfig.model_validate({**shapes[name], **changes})


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Return name -> fields of every model preset, as declared in `presets.yaml`."""
    shapes: dict[str, dict[str, Any]] = yaml.safe_load(
        Path(__file__).with_name("presets.yaml").read_text(encoding="utf-8")
    )
    return shapes


def _must_divide(part: str, count: int, whole: str, total: int) -> None:
    if total % count:
        divisors = [n for n in range(1, total + 1) if total % n == 0]
        nearest = min(divisors, key=lambda n: (abs(n - count), n))
        raise ValueError(f"{part}={count} does not divide {whole}={total}; the nearest number that does is {nearest}")
