"""Measure operation: start services, a release with kills, its reuse, a cancelled and a killed run; print a JSON line.

    python benchmarks/operate.py [recipe]

It uses a new folder with its own servers on free ports. Figures are seconds of wall-clock time, measured once.
`cancelled` is the time from the request until no process of the run is left, `crashed` from `kill -9` of worker and run
until Prefect shows the run as crashed. During the release, Prefect's server and MLflow get `kill -9` in stage 1, and
worker and run during the evaluation of its first checkpoints; then it is run again. It counts artifacts that were
committed before and made again, and metrics of the runs' histories that MLflow lost or has twice.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from services_home import Home, wait

from olmo_core.artifact.store import Store
from olmo_core.train.step import HISTORY_FILE

TRAINING = "ray::RayTrainWorker"
FLOW = "prefect.engine"
WORKER = "prefect worker start"
SERVER = "infra.prefect_app"
TRACKING = "mlflow.server"


def main() -> None:
    recipe = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        figures: dict[str, Any] = {"recipe": recipe}
        up = ("flows.cli.app", "up", recipe, "--profile", str(home.profile))
        try:
            figures["up_seconds"] = home.timed(*up)
            figures["up_again_seconds"] = home.timed(*up)
            figures["killed"] = killed(home, recipe)
            figures["reused_seconds"] = home.timed("prefect", "deployment", "run", f"release/{recipe}", "--watch")
            figures["cancelled_seconds"] = cancelled(home, recipe)
            figures["crashed_seconds"] = crashed(home, recipe)
        finally:
            figures["down_seconds"] = home.timed("flows.cli.app", "down", "--profile", str(home.profile))
    page = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("report.py"))], stdout=subprocess.PIPE, check=True
    )
    figures["page"] = json.loads(page.stdout)
    print(json.dumps(figures, sort_keys=True))


def killed(home: Home, recipe: str) -> dict[str, Any]:
    """Make a release during which server, tracking, worker and run are killed; return the consequences."""
    store = Store(home.home / "artifacts")
    began = time.monotonic()
    run = home.start(f"release/{recipe}", [])
    home.wait_in(run, lambda: home.processes(TRAINING))
    for service in (SERVER, TRACKING):
        before_kill = outbox_bytes(home)
        home.wait_in(run, lambda size=before_kill: outbox_bytes(home) > size)
        home.kill(service)
    home.wait_in(run, lambda: list(store.records("result")))
    before = committed(store)
    for process in (WORKER, FLOW):
        home.kill(process)
    wait(lambda: home.state(run) == "CRASHED")
    again = home.timed("prefect", "deployment", "run", f"release/{recipe}", "--watch")
    after = committed(store)
    return {
        "seconds": round(time.monotonic() - began, 1),
        "second_run_seconds": again,
        "committed_before_the_kill": len(before),
        "committed": len(after),
        "made_again": sum(after.get(step) != attempt for step, attempt in before.items()),
        **metrics(home, store, recipe),
    }


def outbox_bytes(home: Home) -> int:
    """Return the bytes that the release has queued for MLflow so far."""
    return sum(path.stat().st_size for path in (home.home / "outbox").glob("*.jsonl"))


def committed(store: Store) -> dict[str, int]:
    """Return folder -> attempt of every artifact except checkpoints for recovery, which are temporary."""
    return {each.folder: each.attempt for each in store.records() if each.kind != "recovery"}


def metrics(home: Home, store: Store, recipe: str) -> dict[str, int]:
    """Compare every run's history with its metrics in MLflow."""
    from mlflow import MlflowClient

    os.environ.update(home.clients())
    client = MlflowClient()
    experiment = client.get_experiment_by_name(recipe)
    counts = Counter[str]()
    for record in store.records("run"):
        lines = Path(store.root, record.files_folder, HISTORY_FILE).read_text().splitlines()
        steps = Counter(int(json.loads(line)["step"]) for line in lines)
        (run,) = client.search_runs([experiment.experiment_id], f"tags.`olmo.artifact_id` = '{record.id}'")
        points = Counter(point.step for point in client.get_metric_history(run.info.run_id, "train/loss"))
        counts["metrics"] += sum(steps.values())
        counts["metrics_lost"] += sum((steps - points).values())
        counts["metrics_doubled"] += sum((points - steps).values())
    return dict(counts)


def cancelled(home: Home, recipe: str) -> float:
    """Return the seconds from cancelling a training run until none of its processes is left."""
    run = start_training(home, recipe)
    began = time.monotonic()
    home.prefect("POST", f"flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
    wait(lambda: home.state(run) == "CANCELLED")
    wait(lambda: not home.processes(TRAINING) and not home.processes(FLOW))
    return round(time.monotonic() - began, 1)


def crashed(home: Home, recipe: str) -> float:
    """Return the seconds from killing worker and run until Prefect shows the run as crashed."""
    run = start_training(home, recipe)
    began = time.monotonic()
    for process in (WORKER, FLOW):
        home.kill(process)
    wait(lambda: home.state(run) == "CRASHED")
    return round(time.monotonic() - began, 1)


def start_training(home: Home, recipe: str) -> str:
    """Start another run of stage 1 by its deployment; return the id of the flow run when it trains."""
    run = home.start(f"pretrain/{recipe}", ["stages.stage1.seeds=[1]"])
    home.wait_in(run, lambda: home.processes(TRAINING))
    time.sleep(5)  # until it takes steps or compiles them
    return run


if __name__ == "__main__":
    main()
