"""Measure the time and the size of the page of a release with 30 revisions; print a JSON line.

    python benchmarks/report.py

The records are the synthetic ones of the tests, on the graph of the recipe `tiny`: four runs, nine held-out sources,
four tasks. Seconds are for the whole command in a new process, the median of three.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from olmo_core.artifact.store import Store

sys.path.append(str(Path(__file__).parents[1] / "tests" / "olmo_core" / "report"))

from report_world import fill, plan_of

MANY = ("--stages.stage1.checkpoint_every=60", "--stages.stage2.checkpoint_every=67")


def main() -> None:
    plan = plan_of("tiny", *MANY)
    with tempfile.TemporaryDirectory() as folder:
        fill(plan, Store(Path(folder) / "artifacts"))
        seconds, out = [], Path(folder) / "page.html"
        for _ in range(3):
            began = time.monotonic()
            command = [sys.executable, "-m", "flows.cli.app", "report", "tiny", *MANY, "--out", str(out)]
            subprocess.run(command, env={**os.environ, "OLMO_HOME": folder}, stdout=subprocess.PIPE, check=True)
            seconds.append(time.monotonic() - began)
        figures = {
            "revisions": len(plan.revisions),
            "seconds": round(statistics.median(seconds), 2),
            "bytes": out.stat().st_size,
        }
    print(json.dumps(figures, sort_keys=True))


if __name__ == "__main__":
    main()
