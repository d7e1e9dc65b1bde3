"""Compare our loader with the default NumpyDataLoader of ai2-olmo-core on 100M tokens; print a JSON line.

    python benchmarks/loader.py

Both read the same uint32 tokens from the page cache, once in 8 and once in 2,000 files. Each runs in its own process
and yields batches of 64 instances of 2,048 int64 ids, for whole epochs; the two alternate. `ratio` is the median over
rounds of our tokens per second divided by theirs. `resume_ms` is the time from a loader that is set up to the first
batch in the middle of an epoch, `setup_ms` the time before that; both are medians over the rounds. The sum of the
tokens checks that both yield every token of every instance once per epoch.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from ai2_environment import ai2_command

from olmo_core.tokens.mix import MIX_FILE, Manifest, MixFile, MixSource

LENGTH, BATCH = 2048, 64
FILES = {8: 12_501_000, 2000: 50_000}  # tokens of each; the whole instances of all files fill whole batches
ROUNDS = 5
SIDES = ("ours", "ai2")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({f"{count}_files": compared(Path(folder), count) for count in FILES}, sort_keys=True))


def compared(folder: Path, count: int) -> Mapping[str, Any]:
    """Return the figures of both sides for tokens in `count` files."""
    spec = {"files": write(folder / str(count), count), "length": LENGTH, "batch": BATCH}
    found: dict[str, list[Mapping[str, float]]] = {side: [] for side in SIDES}
    with ExitStack() as stack:
        processes = {side: stack.enter_context(running(side, folder / str(count), spec)) for side in SIDES}
        for number in range(ROUNDS + 1):
            for side in SIDES[:: -1 if number % 2 else 1]:
                process = processes[side]
                assert process.stdin is not None and process.stdout is not None
                print("epoch", file=process.stdin, flush=True)
                answer = json.loads(process.stdout.readline())
                print(count, side, answer, file=sys.stderr)
                found[side].append(answer)
    sums = {answer["sum"] for answers in found.values() for answer in answers}
    if len(sums) != 1:
        raise RuntimeError(f"the loaders yield different tokens: sums of an epoch {sums}")
    return figures({side: answers[1:] for side, answers in found.items()})  # the first also reads files and code


def figures(found: Mapping[str, Sequence[Mapping[str, float]]]) -> Mapping[str, Any]:
    """Return medians, and the ratio over rounds."""
    speeds = {side: [answer["tokens"] / answer["seconds"] for answer in answers] for side, answers in found.items()}
    pairs = zip(speeds["ours"], speeds["ai2"], strict=True)
    return {
        "ratio": round(statistics.median(ours / theirs for ours, theirs in pairs), 1),
        "tokens_per_second": {side: round(statistics.median(each)) for side, each in speeds.items()},
        **{
            name: {
                side: round(statistics.median(answer[name] for answer in answers), 2) for side, answers in found.items()
            }
            for name in ("setup_ms", "resume_ms")
        },
    }


def running(side: str, folder: Path, spec: Mapping[str, Any]) -> "subprocess.Popen[str]":
    """Start a side; see `loader_sides`."""
    (folder / "spec.json").write_text(json.dumps(spec))
    command = ai2_command() if side == "ai2" else [sys.executable]
    script = Path(__file__).with_name("loader_sides.py")
    return subprocess.Popen([*command, script, side, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def write(folder: Path, count: int) -> list[str]:
    """Write token files and the mix with all their whole instances; return their paths."""
    (folder / "tokens").mkdir(parents=True)
    random, tokens, files = np.random.default_rng(0), FILES[count], []
    for number in range(count):
        name = f"part-{number:05d}.npy"
        random.integers(100_257, size=tokens, dtype=np.uint32).tofile(folder / "tokens" / name)
        files.append(MixFile("made/00000", name, tokens, tokens // LENGTH))
    source = MixSource("made", sum(file.instances for file in files), files)
    (folder / MIX_FILE).write_bytes(msgspec.json.encode(Manifest(LENGTH, 0, "uint32", 100_278, [source])))
    return [str((folder / "tokens" / file.file).absolute()) for file in files]


if __name__ == "__main__":
    main()
