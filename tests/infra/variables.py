"""Environment variables that products read, determined from the installed product where possible."""

import re
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Products that are not installed here, by their own documentation.
DOCUMENTED = {
    *("PATH", "HOME", "VIRTUAL_ENV", "PYTHONUNBUFFERED"),
    *("UV_CACHE_DIR", "UV_LINK_MODE", "UV_COMPILE_BYTECODE"),  # docs.astral.sh/uv/reference/environment
    *("POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE"),  # hub.docker.com/_/postgres
    "NVIDIA_DRIVER_CAPABILITIES",  # NVIDIA container toolkit, "Specialized Configurations with Docker"
}

# Where the sources of a product name its variables.
SOURCES = {
    "AWS": "botocore",
    "DO": "mlflow",
    "HF": "huggingface_hub",
    "MLFLOW": "mlflow",
    "OLMO": "infra",
    "RAY": "ray",
    "XDG": "olmo_core",
}


def unknown(names: Iterable[str]) -> list[str]:
    """Return the variables that none of our products reads."""
    return sorted(name for name in set(names) if not _known(name))


@cache
def _known(name: str) -> bool:
    if name in DOCUMENTED:
        return True
    product = name.partition("_")[0]
    if product == "PREFECT":
        import prefect.settings

        return hasattr(prefect.settings, name)
    if product.startswith("PG"):
        from psycopg.pq import Conninfo

        return name.encode() in {option.envvar for option in Conninfo.get_defaults()}
    # botocore puts the name of the service behind this one itself.
    return product in SOURCES and _named_in(SOURCES[product], re.sub(r"^(AWS_ENDPOINT_URL)_S3$", r"\1", name))


def _named_in(package: str, name: str) -> bool:
    found = find_spec(package)
    assert found is not None and found.submodule_search_locations is not None
    command = ["grep", "--recursive", "--word-regexp", "--fixed-strings", "--quiet", "--include=*.py", name]
    return subprocess.run([*command, *found.submodule_search_locations], timeout=60).returncode == 0
