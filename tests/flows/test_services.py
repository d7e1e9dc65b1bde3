"""A release on real services: PostgreSQL, Prefect with a worker, MLflow, Ray by address, S3 (moto) and a test Hub."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hub_server import FakeHub
from moto.server import ThreadedMotoServer
from pages import PAGES, Block, blocks
from s3fs import S3FileSystem
from service_site import HOOK_SECRET, HUB_TOKEN, LIMIT_SECONDS, S3_SECRET, Site
from services_home import wait

from olmo_core.artifact.make import make
from olmo_core.artifact.store import Store
from olmo_core.evaluate.task import HELDOUT
from olmo_core.hub.placement import HubPlacement
from olmo_core.recipe.layout import lay_out_repository
from olmo_core.recipe.recipe import load_recipe

POSTGRES = shutil.which("setpriv") is not None and list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))

BLOCKS = [block for page in PAGES for block in blocks(page) if block.how == "services"]
(RELEASE,) = (block for block in BLOCKS if "deployment run 'release/" in block.text)  # most tests need it
(NIGHT,) = (block for block in BLOCKS if "repository=" in block.text)  # run in parallel with another nightly evaluation
GUIDES = [block for block in BLOCKS if block not in (RELEASE, NIGHT)]

pytestmark = pytest.mark.skipif(not POSTGRES, reason="needs the system's PostgreSQL: apt-get install postgresql")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    home = Path(tempfile.mkdtemp(prefix="olmo-services-"))  # PostgreSQL's user must have access
    home.chmod(0o755)
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    store.start()
    with FakeHub(HUB_TOKEN) as hub:
        host, port = store.get_host_and_port()
        site = Site(home, hub, f"http://{host}:{port}")
        make_bucket = "import s3fs; s3fs.S3FileSystem().mkdir('olmo')"
        subprocess.run([sys.executable, "-c", make_bucket], env=site.environment, check=True, timeout=60)
        try:
            site.olmo("up", "micro")
            yield site
        finally:
            site.olmo("down")
            store.stop()
            for folder in (home, site.reader):
                shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def released(site: Site) -> None:
    """Make a release as a deployment, with the command of the guide."""
    site.shell(RELEASE.text)


def test_doctor_finds_no_fault(site: Site) -> None:
    found = json.loads(site.olmo("doctor", "--json"))
    assert {each["what"] for each in found} >= {"artifacts", "prefect", "mlflow", "ray", "hub"}
    assert [each for each in found if each["remedy"]] == []


def test_servers_listen_only_on_this_machine(site: Site) -> None:
    listening = {
        connection.laddr.ip
        for process in site.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_schedule_has_next_runs(site: Site) -> None:
    def scheduled() -> list[dict[str, Any]]:
        return site.prefect("POST", "flow_runs/filter", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}})

    deployed = site.prefect("GET", "deployments/name/nightly-evals/micro")
    wait(lambda: deployed["id"] in {run["deployment_id"] for run in scheduled()})


def test_deployment_makes_release_visible_everywhere(site: Site, released: None) -> None:
    assert {"main", "stage1-step75-tokens39K"} <= site.hub.repos["olmo-release/micro"].branches.keys()
    shown = json.loads(site.olmo("status", "micro", "--json"))
    assert [row["revision"] for row in shown["revisions"]][-1] == "main"
    told = site.clients()
    runs = httpx.post(
        f"{told['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/runs/search",
        json={"experiment_ids": ["1"], "max_results": 1000},
        auth=(told["MLFLOW_TRACKING_USERNAME"], told["MLFLOW_TRACKING_PASSWORD"]),
        timeout=30,
    ).json()["runs"]
    assert len(runs) == 1 + len(
        json.loads(site.olmo("plan", "micro", "--json"))["steps"]
    )  # a parent, and a child per step


def test_concurrent_nightly_runs_make_each_result_once(
    site: Site, released: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # an instance of another test file would use that file's server
    repo, store = "olmo-release/micro", Store("s3://olmo/artifacts", scratch=tmp_path)
    shown = {name: at for name, at in site.hub.repos[repo].branches.items() if name.startswith("stage1-")}
    one, other_one = lay_out_repository(load_recipe("micro"), repo, shown).published.values()
    first, second = one[HELDOUT], other_one[HELDOUT]
    for step in (first.inputs["model"], first.inputs["tokenizer"], first):
        make(step, store, HubPlacement(hub=site.hub.url))
    before = store.peek(first)
    environment = site.clients()
    call = f"from flows.nightly import nightly; nightly('micro', {str(site.profile)!r}, (), {repo!r}, 'stage1-*')"
    other = subprocess.Popen([sys.executable, "-c", call], env=environment)
    site.shell(NIGHT.text)
    assert other.wait(LIMIT_SECONDS) == 0
    assert store.peek(first) == before
    awaited = (*one.values(), *other_one.values(), second.inputs["model"], second.inputs["tokenizer"])
    made = [store.peek(step) for step in awaited]
    assert [record.attempt for record in made if record is not None] == [1] * 8
    tables = {each["key"]: each for each in site.prefect("POST", "artifacts/latest/filter")}
    (row,) = json.loads(tables["micro-olmo-release-micro-trend"]["data"])
    assert (row["checkpoint"], row["against"]) == ("stage1-step125-tokens64K", "stage1-step75-tokens39K")


@pytest.mark.parametrize("block", GUIDES, ids=str)
def test_commands_of_the_guides(block: Block, site: Site, released: None) -> None:
    site.shell(block.text)


def test_guides_leave_runs_and_artifacts(site: Site, released: None) -> None:
    runs = site.prefect("POST", "flow_runs/filter", limit=200)
    ended = {(run["name"], run["state_type"]) for run in runs if run["deployment_id"]}
    assert ended >= {(name, "COMPLETED") for name in ("release micro", "nightly evaluations micro")}
    keys = {each["key"] for each in site.prefect("POST", "artifacts/latest/filter")}
    assert {
        "micro-plan",
        "micro-mixes",
        "micro-evaluation",
        "micro-decision",
        "micro-trend",
        "micro-trend-picture",
    } <= keys
    assert json.loads(site.olmo("run", "micro", "--json"))["made"] == []


def test_every_deployment_has_described_parameters(site: Site) -> None:
    deployed = site.prefect("POST", "deployments/filter")
    tags = {tag for each in deployed for tag in each["tags"]}
    assert tags == {
        "micro", "release", "data", "pretrain", "anneal", "soup", "publish", "evaluate", "nightly-evals"
    }  # fmt: skip
    for each in deployed:
        fields = each["parameter_openapi_schema"]["properties"]
        assert all(fields[name].get("description") for name in ("recipe", "profile", "overrides")), each["name"]
    (nightly,) = (each for each in deployed if "nightly-evals" in each["tags"])
    assert [schedule["schedule"]["cron"] for schedule in nightly["schedules"]] == ["0 3 * * *"]


def test_regression_is_posted_to_webhook(site: Site) -> None:
    row = {"checkpoint": "stage1-step9", "against": "stage1-step8", "difference": 0.1, "low": 0.05, "high": 0.15}
    trend = [row | {"regression": True}, row | {"checkpoint": "stage1-step8", "regression": False}]
    tell = f"from flows.nightly import tell_regressions; tell_regressions('micro', {trend!r})"
    subprocess.run([sys.executable, "-c", tell], env=site.clients(), check=True, timeout=60)
    wait(lambda: site.hook.posted, 30)
    (posted,) = site.hook.posted
    assert posted["text"].startswith("stage1-step9 is 0.1 bits per byte worse than stage1-step8 (95 % interval 0.05 to")


def test_refused_run_has_one_line_in_state_and_log(site: Site, released: None) -> None:
    parameters = ["--param", 'overrides=["stages.stage2.seeds=[1,2]"]']
    run = site.run_of(site.run("prefect", "deployment", "run", "soup/micro", "--watch", *parameters, code=1))
    message = site.prefect("GET", f"flow_runs/{run}")["state"]["message"]
    assert message.startswith("soup of micro needs checkpoint/stage2-ingred")
    assert message.endswith("or the deployments anneal/micro")
    lines = site.prefect("POST", "logs/filter", logs={"flow_run_id": {"any_": [run]}}, limit=200)
    assert any(message in each["message"] for each in lines)
    assert [each["message"] for each in lines if "Traceback" in each["message"]] == []


def test_cancelled_run_leaves_no_process(site: Site, released: None) -> None:
    longer = 'overrides=["stages.stage1.batch_size=1"]'
    run = site.run_of(site.run("prefect", "deployment", "run", "pretrain/micro", "--param", longer))
    wait(lambda: site.processes("ray::RayTrainWorker"))
    site.prefect("POST", f"flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
    wait(lambda: site.state(run) == "CANCELLED", 30)
    wait(lambda: not site.processes("ray::RayTrainWorker") and not site.processes("ray::TrainController"), 30)


def test_up_restarts_killed_servers(site: Site) -> None:
    killed = [site.processes(words)[0] for words in ("infra.prefect_app", "mlflow.server")]
    for server in killed:
        server.kill()
    psutil.wait_procs(killed, timeout=10)
    site.olmo("up", "micro")
    assert [each for each in json.loads(site.olmo("doctor", "--json")) if each["remedy"]] == []


def test_up_restarts_everything_after_reboot(site: Site) -> None:
    assert (site.home / "services" / "logs" / "ray-cluster" / "gcs_server.out").exists()
    killed = site.processes()
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, timeout=10)
    site.olmo("up", "micro")
    assert [each for each in json.loads(site.olmo("doctor", "micro", "--json")) if each["remedy"]] == []


def test_no_secret_is_written(site: Site, released: None) -> None:
    secrets = {HUB_TOKEN, S3_SECRET, HOOK_SECRET}
    tokens = site.home / "services" / "tokens"
    secrets |= {path.read_text() for path in tokens.iterdir()}
    allowed = {site.home / "services" / "environment", *tokens.iterdir()}
    kept = [path for path in site.home.rglob("*") if path.is_file() and path not in allowed]
    assert len(kept) > 20
    for path in kept:
        data = path.read_bytes()
        assert [secret for secret in secrets if secret.encode() in data] == [], path
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        assert not any(secret in line for secret in secrets), line
