import os
import urllib.request
from pathlib import Path

import pytest

from infra.environment import bypass_proxy_on_loopback, unset, without_files_of_prefect

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        for each in (name, name.upper()):
            monkeypatch.setenv(each, "")  # so that what is set is undone
            monkeypatch.delenv(each)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"http_proxy": "http://127.0.0.1:9"}, "localhost,127.0.0.1,::1"),
        ({"HTTPS_PROXY": "http://p:9", "NO_PROXY": "a.org, localhost"}, "a.org,localhost,127.0.0.1,::1"),
        ({"all_proxy": "http://p:9", "no_proxy": "a.org", "NO_PROXY": "b.org"}, "a.org,b.org,localhost,127.0.0.1,::1"),
        ({"http_proxy": "http://p:9", "no_proxy": "*"}, "*"),
    ],
)
def test_loopback_bypasses_proxies(given: dict[str, str], value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    bypass_proxy_on_loopback()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == value
    assert urllib.request.proxy_bypass("127.0.0.1") and urllib.request.proxy_bypass("localhost")
    assert value == "*" or not urllib.request.proxy_bypass("huggingface.co")


def test_no_proxy_is_not_set_without_proxies() -> None:
    bypass_proxy_on_loopback()
    assert "no_proxy" not in os.environ


def test_unset_keeps_variables_of_a_prefect_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_KEY", "PREFECT__FLOW_RUN_ID", "PATH_OF_PREFECT_"):
        monkeypatch.setenv(name, "x")
    unset("PREFECT_")
    assert "PREFECT_API_KEY" not in os.environ
    assert {"PREFECT__FLOW_RUN_ID", "PATH_OF_PREFECT_"} <= os.environ.keys()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".env", "PREFECT_RESULTS_PERSIST_BY_DEFAULT=true\n"),
        ("prefect.toml", "[results]\npersist_by_default = true\n"),
        ("pyproject.toml", "[tool.prefect.results]\npersist_by_default = true\n"),
    ],
)
def test_prefect_settings_in_user_folder_are_ignored(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import Settings

    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text)
    assert Settings().results.persist_by_default
    with without_files_of_prefect(tmp_path / "home"):
        assert not Settings().results.persist_by_default
    assert Path.cwd() == tmp_path
