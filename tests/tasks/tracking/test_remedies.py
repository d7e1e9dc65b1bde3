"""What a person reads of an error of MLflow's client: its status, one short line, and whether it is theirs to solve."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, INTERNAL_ERROR, PERMISSION_DENIED, REQUEST_LIMIT_EXCEEDED

from tasks.tracking.mlflow.errors import LONGEST, explain, needs_action, status

FAILED = "API request to endpoint /api/2.0/mlflow/runs/create failed with error code {} != 200. Response body: '{}'"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MlflowException(FAILED.format(503, "<html>")), 503),
        (RuntimeError("Max retries exceeded (Caused by ResponseError('too many 429 error responses'))"), 429),
        (MlflowException("no", PERMISSION_DENIED), 403),
        (MlflowException("no", ENDPOINT_NOT_FOUND), 404),
        (MlflowException("no", REQUEST_LIMIT_EXCEEDED), 429),
        (MlflowException("no", INTERNAL_ERROR), None),
        (ConnectionError("[Errno 111] refused"), None),
        (MlflowException(FAILED.format(500, "failed with error code 401"), PERMISSION_DENIED), 500),
    ],
)
def test_status_is_in_the_text_or_the_code_of_the_error(error: Exception, code: int | None) -> None:
    assert status(error) == code


@pytest.mark.parametrize(
    ("error", "acts", "end"),
    [
        (MlflowException(FAILED.format(401, "")), True, "or MLFLOW_TRACKING_TOKEN"),
        (MlflowException(FAILED.format(403, "")), True, "let this user write there"),
        (MlflowException(FAILED.format(404, "")), True, "the server at this address is not MLflow"),
        (RuntimeError("Exceeded 30 redirects."), True, "the server at this address is not MLflow"),
        (MlflowException(FAILED.format(413, "")), False, "accept larger requests"),
        (MlflowException(FAILED.format(429, "")), False, "events are sent more slowly"),
        (MlflowException(FAILED.format(500, "")), False, "see the server's log"),
        (MlflowException(FAILED.format(504, "")), False, "see the server's log"),
        (MlflowException(FAILED.format(400, "")), False, "failed with error code 400 != 200"),
        (ConnectionError("[Errno 111] refused"), False, "ConnectionError: [Errno 111] refused"),
        (ValueError("training step -1 is not a non-negative integer"), False, "is not a non-negative integer"),
    ],
)
def test_only_what_persists_needs_a_person(error: Exception, acts: bool, end: str) -> None:
    line = explain(error)
    assert line.endswith(end)
    assert needs_action(line) is acts


def test_answer_that_is_no_error_of_mlflow_is_a_wrong_address() -> None:
    """A web page with status 200 has no code, but a body that is not JSON."""
    line = explain(MlflowException("Response is not a valid JSON object. Response body: '<html>Sign in</html>'"))
    assert "correct `mlflow` in the profile" in line and "html" not in line


def test_line_is_cut_before_its_remedy() -> None:
    error = MlflowException(FAILED.format(403, "").replace("endpoint", "e" * 1000))
    line = explain(error)
    assert line.startswith("MlflowException: API request to ")
    assert len(line) < LONGEST + 50
    assert status(error) == 403 and needs_action(line)


@given(st.text())
def test_any_message_is_one_line_that_names_its_error(text: str) -> None:
    line = explain(ValueError(text))
    assert line.startswith("ValueError:")
    assert len(line.splitlines()) == 1 and len(line) <= LONGEST + 200
