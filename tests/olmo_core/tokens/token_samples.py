"""Small token files and mixes of them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.tokens.mix import MixConfig, make_mix, mix_step
from olmo_core.tokens.published import TokenFilesConfig, import_token_files, token_files_step
from olmo_core.tokens.special_tokens import SpecialTokens
from olmo_core.tokens.token_file import TokenFile

EOS = 99
TOKENIZER = Step("tokenizer", "t", 1)


def token_artifact(
    folder: Path, role: str, tokens: int, *, first: int = 0, dtype: str = "uint16", vocab_size: int = 60_000
) -> Artifact:
    """Make a tokens artifact whose ids count up from `first`, so that each id shows its position."""
    corpus, _, shard = role.rpartition("/")
    step = Step("tokens", f"{corpus}-{shard}", 1, {"shard": int(shard)}, {"tokenizer": TOKENIZER})
    path = folder / corpus / shard
    path.mkdir(parents=True)
    np.arange(first, first + tokens).astype(dtype).tofile(path / "part.npy")
    about = TokenFile("part.npy", dtype, tokens, tokens // 10, vocab_size, 0)
    (path / "tokens.json").write_bytes(msgspec.json.encode(about))
    return Artifact(step, None, path)  # type: ignore[arg-type]


def mix_of(
    folder: Path, held: dict[str, Artifact], weights: dict[str, float], tokens: int, length: int, **more: Any
) -> tuple[Path, dict[str, Any]]:
    """Make a mix of token files; return its folder and report. `more`: `seed`, and fields of MixConfig."""
    seed = more.pop("seed", 0)
    config = MixConfig(weights=weights, **more)
    step = mix_step("m", config, tokens, length, seed, {role: artifact.step for role, artifact in held.items()})
    out = folder / f"mix-{step.id[:8]}"
    out.mkdir(parents=True)
    return out, make_mix(Job(step=step, inputs=held, out=out))


def write_ids(folder: Path, place: str, *ids: int, dtype: str = "uint16") -> None:
    """Write a published file of token ids, or of label masks."""
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    np.array(ids, dtype=dtype).tofile(path)


def taken(folder: Path, name: str, config: TokenFilesConfig, shard: int, vocab_size: int = 100) -> Artifact:
    """Import published files with a tokenizer whose end of text is `EOS`."""
    tokenizer, out = folder / "tokenizer", folder / "out" / f"{name}-{shard}"
    tokenizer.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True)
    special = SpecialTokens("<|endoftext|>", EOS, "<|pad|>", 1, vocab_size)
    (tokenizer / "special_tokens.json").write_bytes(msgspec.json.encode(special))
    step = token_files_step(name, config, shard, TOKENIZER)
    inputs = {"tokenizer": Artifact(TOKENIZER, None, tokenizer)}  # type: ignore[arg-type]
    import_token_files(Job(step=step, inputs=inputs, out=out))
    return Artifact(step, None, out)  # type: ignore[arg-type]
