"""Explain errors of a tracking server, or of a proxy in front of it, in one line with the remedy."""

import re

_STATUS = re.compile(r"failed with error code (\d{3})|too many (\d{3}) error responses")
_NAMES = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "ENDPOINT_NOT_FOUND": 404, "REQUEST_LIMIT_EXCEEDED": 429}
_ADDRESS = "correct `mlflow` in the profile: the server at this address is not MLflow"
_REMEDIES = {
    401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    403: "let this user write there",
    404: _ADDRESS,
    413: "let the proxy in front of the server accept larger requests",
    429: "its request rate is limited; events are sent more slowly",
}
_PERMANENT = tuple(_REMEDIES[code] for code in (401, 403, 404))
LONGEST = 300  # Characters; a proxy responds with a page.


def status(error: BaseException) -> int | None:
    """Return the HTTP status of an error of MLflow's client, None if it has none."""
    found = _STATUS.search(str(error))
    if found is not None:
        return int(found[1] or found[2])
    return _NAMES.get(str(getattr(error, "error_code", "")))


def explain(error: BaseException) -> str:
    """Return one line: the error without the body of the response, and the remedy."""
    text, body, _ = str(error).partition(". Response body:")
    line = f"{type(error).__name__}: {' '.join(text.split())}"
    line = line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
    code = status(error)
    page = code is None and (bool(body) or "redirects" in text)
    server = "see the server's log" if code is not None and code >= 500 else ""
    remedy = _ADDRESS if page else _REMEDIES.get(code or 0, server)
    return f"{line}; {remedy}" if remedy else line


def needs_action(line: str) -> bool:
    """Return whether the problem in a line of `explain` persists until a person acts."""
    return line.endswith(_PERMANENT)
