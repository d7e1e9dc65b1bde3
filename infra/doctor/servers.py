"""Checks over the network: addresses, versions and tokens of Prefect, MLflow, Ray and the Hub."""

import base64
import importlib.metadata
import json
import os
import socket
import urllib.error
import urllib.request
from typing import Any

from infra.doctor.finding import WrongError, first_line
from infra.profile import Profile

WAIT_SECONDS = 30  # a busy machine takes seconds to answer


def prefect(profile: Profile) -> str:
    """Check that Prefect answers, accepts our password and has our version."""
    user = os.environ.get("PREFECT_API_AUTH_STRING", "")
    seen = _get("PREFECT_API_AUTH_STRING", f"{profile.prefect}/admin/version", user)
    if _minor(str(seen)) != _minor(_version("prefect")):
        raise WrongError(
            f"{profile.prefect} runs Prefect {seen}, this machine {_version('prefect')}", "run the same version on both"
        )
    return f"{profile.prefect}, Prefect {seen}"


def mlflow(profile: Profile) -> str:
    """Check that MLflow answers and accepts our password."""
    user = ":".join(os.environ.get(f"MLFLOW_TRACKING_{each}", "") for each in ("USERNAME", "PASSWORD"))
    _get(
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        f"{profile.mlflow}/api/2.0/mlflow/experiments/search?max_results=1",
        user.strip(":"),
    )
    return str(profile.mlflow)


def ray(profile: Profile) -> str:
    """Check that the port of the Ray cluster is open."""
    address = str(profile.ray.address)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return "the cluster of this node"
    try:
        with socket.create_connection((host, int(port)), WAIT_SECONDS):
            return address
    except (OSError, ValueError) as error:
        raise WrongError(f"{address}: {first_line(error)}", "start the cluster, or correct ray.address") from error


def hub(profile: Profile) -> str:
    """Check that the Hub accepts our token."""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    endpoint = str(profile.hub.endpoint)
    if get_token() is None:
        raise WrongError(f"no token for {endpoint}", "set HF_TOKEN, or HF_TOKEN_PATH to a file that holds it")
    try:
        name = HfApi(endpoint=endpoint).whoami()["name"]
    except HfHubHTTPError as error:
        raise WrongError(
            f"{endpoint} refuses the token ({first_line(error)})", "set HF_TOKEN to a token with write access"
        ) from error
    except Exception as error:  # each HTTP library has its own errors for an address that does not answer
        raise WrongError(f"{endpoint}: {first_line(error)}", "check hub.endpoint in the profile") from error
    return f"{endpoint} as {name}"


def _get(variables: str, url: str, user: str) -> Any:
    """Return the JSON at an address that requires a user and a password."""
    headers = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"} if user else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=WAIT_SECONDS) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            why = "refuses the password" if user else "requires a password"
            raise WrongError(f"{url} {why}", f"set {variables}; `olmo up` prints the file to read them from") from None
        raise WrongError(f"{url} answers {error.code}", "read the server's log") from None
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise WrongError(
            f"{url}: {first_line(error)}", "start the server, or correct its address in the profile"
        ) from None


def _version(package: str) -> str:
    return importlib.metadata.version(package)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
