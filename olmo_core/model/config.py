"""The shape of a model, its parameters and FLOPs, and the named presets of `presets.yaml`.

Planning imports this module, so it never imports torch. The network itself is in `transformer`.
"""

import difflib
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from olmo_core.artifact.identity import unused

OLMO1_NORM_EPS = 1e-5  # In no config: the default of OLMo's LayerNorm, and a constant in transformers' OlmoLayerNorm.
VOCAB_MULTIPLE = 128  # Embedding and head have a multiple of this many rows, as in OLMo 2 (100278 ids, 100352 rows).
# Files in the folder of a model: a checkpoint, a soup or a model from elsewhere.
CONFIG_FILE = "model.json"
WEIGHTS_FILE = "model.safetensors"


class ModelConfig(BaseModel):
    """The shape of an OLMo 2 or OLMo 1 model. Defaults are shared by all sizes of OLMo 2 (OLMo, configs/official-1124).

    A field that only OLMo 1 sets is left out of a dump at its default, so that it does not change OLMo 2 identities.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: Literal["olmo2", "olmo1"] = Field(
        "olmo2",
        exclude_if=lambda value: value == "olmo2",
        description="Type of the blocks: `olmo2` normalises the output of each sublayer, queries and keys, with gains; "
        "`olmo1` the input of each sublayer, without gains.",
    )

    d_model: int = Field(ge=2, description="Width of the residual stream.")
    n_layers: int = Field(ge=1, description="Number of transformer blocks.")
    n_heads: int = Field(ge=1, description="Query heads of attention; must divide `d_model`.")
    n_kv_heads: int = Field(ge=1, description="Key and value heads; must divide `n_heads`, and defaults to it.")
    hidden_size: int = Field(ge=1, description="Width of the SwiGLU feed-forward layer.")
    vocab_size: int = Field(
        ge=2, description="Number of token ids, before padding; a recipe takes it from its tokenizer."
    )
    rows: int | None = Field(
        None,
        exclude_if=unused,
        description="Rows of embedding and head, for models trained elsewhere; if not given, `vocab_size` rounded up "
        "to a multiple of 128.",
    )
    context_length: int = Field(ge=2, description="Longest sequence that the model supports, in tokens.")
    rope_theta: float = Field(500_000.0, gt=0, description="Base of the rotary position frequencies.")
    norm_eps: float = Field(1e-6, gt=0, description="Epsilon inside every norm.")
    tied_embeddings: bool = Field(False, exclude_if=unused, description="Use the embedding matrix as the head too.")
    clip_qkv: float | None = Field(
        None,
        gt=0,
        exclude_if=unused,
        description="Clip queries, keys and values to this absolute value; `olmo1` only.",
    )
    init: Literal["normal", "mitchell"] = Field(
        "normal",
        exclude_if=lambda value: value == "normal",
        description="First weights, truncated at three standard deviations: `normal` uses `init_std` for all; "
        "`mitchell` scales by input width, and by depth where a matrix writes to the residual stream.",
    )
    init_std: float = Field(0.02, gt=0, description="Standard deviation of the `normal` first weights.")

    @model_validator(mode="before")
    @classmethod
    def _default_kv_heads(cls, values: Any) -> Any:
        # Filled in, not left None: a config with the default written out must have the same identity as one without.
        if isinstance(values, dict) and values.get("n_kv_heads") is None and "n_heads" in values:
            return {**values, "n_kv_heads": values["n_heads"]}
        return values

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        _must_divide("n_heads", self.n_heads, "d_model", self.d_model)
        _must_divide("n_kv_heads", self.n_kv_heads, "n_heads", self.n_heads)
        if self.head_dim % 2:
            raise ValueError(
                f"n_heads={self.n_heads} gives heads of odd width {self.head_dim}; rotary positions rotate pairs, "
                "so d_model / n_heads must be even"
            )
        return self

    @model_validator(mode="after")
    def _a_row_for_every_id(self) -> Self:
        if self.rows is not None and self.rows < self.vocab_size:
            raise ValueError(f"rows={self.rows} is less than vocab_size={self.vocab_size}; give at least that many")
        return self

    @model_validator(mode="after")
    def _as_the_architecture_has_it(self) -> Self:
        if self.architecture == "olmo2" and self.clip_qkv is not None:
            raise ValueError(f"clip_qkv={self.clip_qkv}: olmo2 norms queries and keys, only olmo1 clips; leave it out")
        if self.architecture == "olmo1" and self.norm_eps != OLMO1_NORM_EPS:
            raise ValueError(f"norm_eps={self.norm_eps}: olmo1 requires {OLMO1_NORM_EPS}; give that")
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
        """Number of parameters, including the padding rows of embedding and head, as in the official counts."""
        tables = 1 if self.tied_embeddings else 2
        return self.non_embedding_parameters + tables * self.padded_vocab_size * self.d_model

    @property
    def non_embedding_parameters(self) -> int:
        """Number of parameters without the input embedding and the head."""
        gains = self.n_layers * (3 * self.d_model + self.n_kv_heads * self.head_dim) + self.d_model
        return self._block_matrices + (gains if self.architecture == "olmo2" else 0)

    @property
    def _block_matrices(self) -> int:
        attention = 2 * self.d_model * self.d_model + 2 * self.d_model * self.n_kv_heads * self.head_dim
        return self.n_layers * (attention + 3 * self.d_model * self.hidden_size)

    def differences(self, other: Self, intended: Collection[str] = ()) -> list[str]:
        """Return how the network of `other` differs; empty if it computes the same with the same weights.

        Initialisation, context length and `vocab_size` are not part of the network; the padded vocabulary is.

        Args:
            other: shape to compare with.
            intended: fields that may differ.
        """
        apart = {"vocab_size", "rows", "context_length", "init", "init_std", *intended}
        names = [*(name for name in type(self).model_fields if name not in apart), "padded_vocab_size"]
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in names]
        return [f"{name} is {own} and {theirs}" for name, own, theirs in pairs if own != theirs]

    def flops_per_token(self, sequence_length: int, count: Literal["causal", "full"] = "causal") -> int:
        """Return the FLOPs of forward and backward pass for one token of a sequence of `sequence_length` tokens.

        Two per multiply-add, three passes over every matrix, including the head but not the embedding look-up. `causal`
        counts the half of the attention scores that the mask keeps, `full` counts all (the convention of the PaLM
        report, appendix B). Recomputation is not counted.
        """
        scores = {"causal": 6, "full": 12}[count] * self.n_layers * self.d_model * sequence_length
        return 6 * (self._block_matrices + self.padded_vocab_size * self.d_model) + scores


def padded(vocab_size: int) -> int:
    """Return `vocab_size` rounded up to a multiple of 128, the number of rows in our models."""
    return -(-vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


def preset(name: str, **changes: object) -> ModelConfig:
    """Return the preset called `name`, with fields replaced by `changes` and validated again.

    Raises:
        ValueError: no preset has this name; names the nearest one.
    """
    shapes = presets()
    if name not in shapes:
        near = difflib.get_close_matches(name, shapes, n=1) or sorted(shapes)
        raise ValueError(f"no model preset is called {name!r}; the nearest is {near[0]!r}, all are {sorted(shapes)}")
    return ModelConfig.model_validate({**shapes[name], **changes})


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Return name -> fields for every model preset in `presets.yaml`."""
    shapes: dict[str, dict[str, Any]] = yaml.safe_load(
        Path(__file__).with_name("presets.yaml").read_text(encoding="utf-8")
    )
    return shapes


def _must_divide(part: str, count: int, whole: str, total: int) -> None:
    if total % count:
        divisors = [n for n in range(1, total + 1) if total % n == 0]
        nearest = min(divisors, key=lambda n: (abs(n - count), n))
        raise ValueError(f"{part}={count} does not divide {whole}={total}; the nearest number that does is {nearest}")
