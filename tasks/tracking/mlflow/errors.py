"""Why a tracking server did not take something: one line with the remedy, whatever a proxy before it answers."""

import re

_STATUS = re.compile(r"failed with error code (\d{3})|too many (\d{3}) error responses")
_NAMES = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "ENDPOINT_NOT_FOUND": 404, "REQUEST_LIMIT_EXCEEDED": 429}
_ADDRESS = "correct `mlflow` in the profile: what answers there is no MLflow"
_REMEDIES = {
    401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    403: "let this user write there",
    404: _ADDRESS,
    413: "let the proxy before the server take larger requests",
    429: "it takes fewer requests than come; they are sent more slowly",
}
_LASTING = tuple(_REMEDIES[code] for code in (401, 403, 404))
LONGEST = 300  # Characters; a proxy answers with a page.


def status(error: BaseException) -> int | None:
    """Return the HTTP status behind an error of MLflow's client, None where it tells of none."""
    found = _STATUS.search(str(error))
    if found is not None:
        return int(found[1] or found[2])
    return _NAMES.get(str(getattr(error, "error_code", "")))


def in_words(error: BaseException) -> str:
    """Return one line: the error without the page it came with, and what to do about it."""
    text, body, _ = str(error).partition(". Response body:")
    line = f"{type(error).__name__}: {' '.join(text.split())}"
    line = line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
    code = status(error)
    page = code is None and (bool(body) or "redirects" in text)
    server = "look into the server's log" if code is not None and code >= 500 else ""
    remedy = _ADDRESS if page else _REMEDIES.get(code or 0, server)
    return f"{line}; {remedy}" if remedy else line


def lasts(line: str) -> bool:
    """Return whether the trouble in a line of `in_words` persists until a person acts."""
    return line.endswith(_LASTING)
