"""Errors of a tracking server, or of a proxy in front of it, are one line with the remedy."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.tracking.mlflow.errors import LONGEST, explain, status
from tasks.tracking.mlflow.experiment import connect

PAGE = "<html>\n" + "<h1>Sign in</h1>\n" * 100 + "</html>"


class Answers(BaseHTTPRequestHandler):
    """Gives the same response to every request."""

    answer = (200, "")

    def log_message(self, *_): ...

    def do_GET(self):
        code, body = self.answer
        self.send_response(code)
        if code == 302:
            self.send_header("Location", self.path)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET  # noqa: N815


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("code", "body", "remedy"),
    [
        (401, "You are not authenticated", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "no"}', "let this user write there"),
        (404, PAGE, "correct `mlflow` in the profile"),
        (413, PAGE, "let the proxy in front of the server accept larger requests"),
        (429, PAGE, "its request rate is limited"),
        (502, PAGE, "see the server's log"),
        (200, PAGE, "correct `mlflow` in the profile"),
        (302, "", "correct `mlflow` in the profile"),
    ],
)
def test_server_error_is_one_line_with_the_remedy(server, monkeypatch, code, body, remedy):
    monkeypatch.setattr(Answers, "answer", (code, body))
    with pytest.raises(Exception) as raised:
        connect(server)
    line = explain(raised.value)
    assert remedy in line and "\n" not in line and "<h1>" not in line
    assert len(line) < LONGEST + 100
    assert status(raised.value) == (None if code in (200, 302) else code)


def test_error_of_the_event_itself_is_unchanged():
    assert explain(ValueError("step -1")) == "ValueError: step -1"
