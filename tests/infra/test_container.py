"""The container file passes the linter, pins its dependencies, runs without root and contains no secret."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from variables import ROOT, unknown

FOLDER = ROOT / "infra" / "container"
FILE = FOLDER / "Containerfile"
TEXT = FILE.read_text()
HADOLINT = Path(sys.executable).with_name("hadolint")


def instructions(text: str) -> list[tuple[str, str]]:
    """Return (instruction, arguments) in order, with continued lines joined and without comments."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line]


def variables(text: str) -> list[str]:
    return [word.partition("=")[0] for name, rest in instructions(text) if name == "ENV" for word in shlex.split(rest)]


def linted(text: str) -> str:
    run = subprocess.run(
        [HADOLINT, "--failure-threshold", "style", "-"], input=text, capture_output=True, text=True, timeout=60
    )
    assert (run.returncode == 0) == (run.stdout == ""), run.stderr
    return run.stdout


def test_linter_passes() -> None:
    assert linted(TEXT) == ""


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("-slim-bookworm AS build", "-slim-bookworm AS build\nFROM debian:latest AS other", "DL3007"),
        ("--no-install-recommends ", "", "DL3015"),
        ("&& rm -rf /var/lib/apt/lists/* ", "", "DL3009"),
        ("USER 10001:10001", "USER root", "DL3002"),
        ('"uv==${UV}"', "uv", "DL3013"),
    ],
)
def test_linter_finds_errors(right: str, wrong: str, rule: str) -> None:
    assert right in TEXT
    assert rule in linted(TEXT.replace(right, wrong))


def test_image_runs_as_numeric_user() -> None:
    """Kubernetes can only verify `runAsNonRoot` if the image names its user by number."""
    last = [rest for name, rest in instructions(TEXT) if name == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last)
    assert f"--uid {last.partition(':')[0]} " in TEXT


def test_every_stage_uses_a_pinned_image() -> None:
    pins = dict(rest.split("=") for name, rest in instructions(TEXT) if name == "ARG")
    bases = [
        re.sub(r"\$\{(\w+)\}", lambda match: pins[match[1]], rest)
        for name, rest in instructions(TEXT)
        if name == "FROM"
    ]
    assert len(bases) == 2
    assert all(re.match(r"python:3\.11\.\d+-slim-bookworm\b", base) for base in bases)


def test_uv_version_equals_that_of_makefile() -> None:
    (version,) = re.findall(r"^UV := (\S+)$", (ROOT / "Makefile").read_text(), flags=re.M)
    assert ("ARG", f"UV={version}") in instructions(TEXT)


def test_dependencies_have_the_locked_versions() -> None:
    (install,) = [rest for name, rest in instructions(TEXT) if name == "RUN" and "--torch-backend" in rest]
    assert "--requirements pyproject.toml --constraints requirements.lock" in install
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert [each for each in wanted if re.split(r"[<>=[]", each)[0].lower().replace("_", "-") not in pinned] == []


def test_copied_files_exist_and_are_not_ignored() -> None:
    """An ignore file that begins with `*` passes only the paths after `!`, and none that an image must not contain."""
    lines = [line for line in FILE.with_name(f"{FILE.name}.dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.rstrip("*") for name in settings["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert allowed == packages | {"pyproject.toml", "requirements.lock", "README.md", "LICENSE"}
    assert [name for name in allowed - packages if not (ROOT / name).is_file()] == []
    assert "infra/compose/secrets" in lines


def test_variables_are_known_and_not_secret() -> None:
    assert unknown(variables(TEXT)) == []
    assert [name for name in variables(TEXT) if re.search("SECRET|TOKEN|PASSWORD|KEY", name)] == []
    assert unknown(["OLMO_HOUSE", "RAY_AUTH_MOOD", "PREFECT_HOUSE", "NOBODYS"]) == [
        "NOBODYS",
        "OLMO_HOUSE",
        "PREFECT_HOUSE",
        "RAY_AUTH_MOOD",
    ]


def entered(secrets: Path, tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command through the entry point, with `secrets` instead of the folder of a container."""
    text = (FOLDER / "entrypoint.sh").read_text()
    assert text.count("/run/secrets/") == 1
    script = tmp_path / "entrypoint.sh"
    script.write_text(text.replace("/run/secrets", str(secrets)))
    return subprocess.run(
        ["sh", script, *command], capture_output=True, text=True, timeout=10, env={"PATH": "/usr/bin:/bin"}
    )


def test_secret_files_become_variables(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "PGPASSWORD").write_text("one $(two) 'three'\n")
    (secrets / "ray_token").write_text("stays a file")
    run = entered(secrets, tmp_path, "env")
    assert "PGPASSWORD=one $(two) 'three'\n" in run.stdout
    assert "stays a file" not in run.stdout + run.stderr


def test_command_keeps_its_arguments_and_exit_code(tmp_path: Path) -> None:
    assert entered(tmp_path / "none", tmp_path, "printf", "%s.", "a b", "c").stdout == "a b.c."
    assert entered(tmp_path / "none", tmp_path, "sh", "-c", "exit 7").returncode == 7
    assert (FOLDER / "entrypoint.sh").stat().st_mode & 0o111
