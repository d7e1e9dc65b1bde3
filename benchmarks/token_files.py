"""Time token files with both engines, from a corpus in a store to the committed artifact; print a JSON line.

    python benchmarks/token_files.py [MEGABYTES]

The corpus is one shard of MEGABYTES (100 if not given) of Python source and its docstrings from this environment, in
documents of up to 6,000 characters; the tokenizer is our own with 8,192 ids. Each round makes the step with gigatoken
and with tokenizers alone, both with two threads, in one process. `mb_per_second` is the median over rounds of
megabytes of text per second of wall-clock time, `cpu_seconds` the median of the processor time of all threads, `ratio`
the median over rounds of the quotient of the two times. The files of both are compared. gigatoken's cache is empty at
the start of each round.
"""

import hashlib
import json
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

from infra.machine import processor
from olmo_core.artifact.identity import Step
from olmo_core.artifact.job import Placement
from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.documents.corpus import CorpusConfig, corpus_step
from olmo_core.documents.file_digests import FileDigests
from olmo_core.documents.listing import list_files
from olmo_core.tokens import engine
from olmo_core.tokens.token_file import tokens_step
from olmo_core.tokens.tokenizer import BpeConfig, tokenizer_step

ROUNDS = 3
SIDES = ("gigatoken", "tokenizers")
CHARACTERS = 6_000
THREADS = 2


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compared(Path(folder), megabytes * 1_000_000), sort_keys=True))


def compared(folder: Path, size: int) -> Mapping[str, object]:
    """Return the figures of both engines for `size` bytes of text."""
    step, store = tokens_of(folder, size), Store(folder / "store")
    for source in (*step.inputs["corpus"].inputs.values(), step.inputs["corpus"], step.inputs["tokenizer"]):
        make(source, store)
    [train] = make(step.inputs["corpus"], store).artifact.record.result["train"]
    wall: dict[str, list[float]] = {side: [] for side in SIDES}
    cpu: dict[str, list[float]] = {side: [] for side in SIDES}
    digests = set()
    for _ in range(ROUNDS):
        for side in SIDES:
            with only_reference() if side == "tokenizers" else nullcontext():
                started, used = time.perf_counter(), time.process_time()
                made = make(step, store, Placement(threads=THREADS)).artifact
                wall[side].append(time.perf_counter() - started)
                cpu[side].append(time.process_time() - used)
            print(side, f"{wall[side][-1]:.2f} s, {cpu[side][-1]:.2f} s of processor time", file=sys.stderr)
            files = sorted(made.path.iterdir())
            digests.add(tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files))
            store.discard(step)
    if len(digests) != 1:
        raise RuntimeError("the engines write different files")
    pairs = zip(wall["tokenizers"], wall["gigatoken"], strict=True)
    return {
        "cpu": processor(),
        "text_mb": round(train["bytes"] / 1e6, 1),
        "threads": THREADS,
        "mb_per_second": {
            side: round(train["bytes"] / 1e6 / statistics.median(each), 1) for side, each in wall.items()
        },
        "cpu_seconds": {side: round(statistics.median(each), 2) for side, each in cpu.items()},
        "ratio": round(statistics.median(slow / fast for slow, fast in pairs), 1),
    }


def only_reference() -> AbstractContextManager[object]:
    """Leave gigatoken out, as if it were not installed."""
    return patch.object(engine, "Fast", side_effect=engine.EngineError("gigatoken is left out"))


def tokens_of(folder: Path, size: int) -> Step:
    """Write the text; return the step that makes the token file of it."""
    with (folder / "text.jsonl").open("w") as file:
        for number, text in enumerate(texts(size)):
            file.write(json.dumps({"id": str(number), "text": text}) + "\n")
    config = CorpusConfig.model_validate(
        {
            "source": {"reader": "jsonl", "paths": [str(folder / "text.jsonl")], "shard_bytes": 2 * size + 10**6},
            "licence": "PSF-2.0",
            "heldout": 0.001,
        }
    )
    corpus = corpus_step("python", config, {}, list_files([str(folder / "text.jsonl")], FileDigests()))
    return tokens_step(corpus, 0, tokenizer_step("own", BpeConfig(kind="bpe", vocab_size=8192), {"python": corpus}))


def texts(size: int) -> Iterator[str]:
    """Yield about `size` bytes of Python source from the standard library and the installed packages."""
    found = 0
    for root in ("stdlib", "purelib"):
        for path in sorted(Path(sysconfig.get_path(root)).rglob("*.py")):
            text = path.read_text(encoding="utf-8", errors="replace")
            for start in range(0, len(text), CHARACTERS):
                yield text[start : start + CHARACTERS]
                found += len(text[start : start + CHARACTERS].encode())
                if found >= size:
                    return


if __name__ == "__main__":
    main()
