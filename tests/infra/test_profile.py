"""Profiles: where things lie, and what is said of one that cannot be."""

from pathlib import Path

import pytest

from infra.profile import BUILTIN, load_profile
from olmo_core.recipe.overrides import ConfigError


@pytest.mark.parametrize("name", sorted(path.stem for path in BUILTIN.glob("*.yaml")))
def test_a_built_in_profile_loads(name: str) -> None:
    assert load_profile(name).name == name


def test_the_laptop_needs_no_server() -> None:
    laptop = load_profile("laptop")
    assert (laptop.ray.address, laptop.prefect, laptop.mlflow, laptop.hub.endpoint) == (None, None, None, None)


@pytest.mark.parametrize(
    ("override", "remote", "cpus", "copies"),
    [
        ("--ray={}", False, None, True),
        ("--ray={cpus: 4}", False, 4, True),
        ("--ray={address: auto}", True, None, True),
        ("--hub.endpoint=https://hub.example", False, 4, False),
    ],
)
def test_what_planning_asks_follows_from_ray_and_hub(override: str, remote: bool, cpus: int, copies: bool) -> None:
    profile = load_profile("laptop", [override])
    assert (profile.remote, profile.logical_cpus, profile.copies_revisions) == (remote, cpus, copies)


def test_the_laptop_runs_its_seeds_side_by_side() -> None:
    laptop = load_profile("laptop")
    assert laptop.ray.cpus is not None
    assert laptop.training.seeds.cpus * laptop.training.seeds.count * 3 <= laptop.ray.cpus


def test_everything_lies_below_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OLMO_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    laptop = load_profile("laptop")
    assert laptop.folder == tmp_path / ".olmo"
    assert laptop.store_root == str(tmp_path / ".olmo" / "artifacts")


def test_the_environment_names_another_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OLMO_HOME", str(tmp_path / "elsewhere"))
    assert load_profile("laptop").folder == tmp_path / "elsewhere"


@pytest.mark.parametrize("variable", [None, "~/x"])
def test_a_tilde_is_the_home_of_the_user(variable: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLMO_HOME", variable or "")
    laptop = load_profile("laptop", ["--home=~/x", "--artifacts=~/store"])
    assert (laptop.folder, laptop.store_root) == (tmp_path / "x", str(tmp_path / "store"))


def test_a_tilde_of_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLMO_HOME", "~nobody-of-that-name/x")
    with pytest.raises(ConfigError, match=r"^OLMO_HOME .value '~nobody-of-that-name/x'.: there is no such user"):
        _ = load_profile("laptop").folder


def test_a_store_may_lie_anywhere() -> None:
    assert load_profile("laptop", ["--artifacts=s3://bucket/olmo"]).store_root == "s3://bucket/olmo"


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("ray: {address: 'head:6379'}\ntraining: {seeds: {gpus: 1, placement: {device: cuda}}}\n")
    cluster = load_profile(str(path))
    assert cluster.name == "cluster"
    assert cluster.training.seeds.placement.device == "cuda"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("--artefacts=x", "profile laptop: artefacts (value 'x'): no such field; did you mean 'artifacts'?"),
        ("--training.seeds.cpu=1", "training.seeds.cpu (value 1): no such field; did you mean 'cpus'?"),
        ("--ray.cpus=0", "ray.cpus (value 0): input should be greater than or equal to 1"),
        ("--placement.device=tpu", "placement.device (value 'tpu'): input should be 'cpu' or 'cuda'"),
        ("--placement.compile=true", "placement.compile (value True): no such field; valid here: device, hub, threads"),
        ("--training.single.placement.hub=x", "training.single.placement.hub (value 'x'): no such field"),
        ("--corpora={}", "corpora: no such field; valid here: artifacts, background_workers,"),
    ],
)
def test_a_fault_is_named_with_its_field(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_profile("laptop", [override])
    assert said in str(error.value)


def test_a_profile_that_is_not_known() -> None:
    with pytest.raises(ConfigError, match="profile 'labtop': not known; did you mean 'laptop'"):
        load_profile("labtop")


def test_a_trace_is_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    profile = load_profile("laptop", ["--training.single.placement.trace=traces"])
    monkeypatch.chdir("/")
    assert profile.training.single.placement.trace == f"{tmp_path}/traces"
