"""A model Hub in one process: the part of its HTTP protocol that huggingface_hub 2.4 speaks, with faults on demand.

Commits, branches and files are kept in memory, files by digest as on the Hub: LFS by sha256, others as git blobs.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_ABOVE = 100_000  # Bytes; .safetensors are LFS at any size. (The real limit is 10 MB.)
DATE = "2026-01-01T00:00:00.000Z"


@dataclass
class Fault:
    """A fault of requests whose line `METHOD path` matches: an error, a broken connection, or a lost response."""

    pattern: str
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False  # The request is carried out; only its response is lost.
    cut: bool = False  # The connection is closed without a response.
    times: int = 1


class RefusedError(Exception):
    def __init__(self, status: int, code: str = "", body: Any = None) -> None:
        super().__init__(status, code)
        self.status, self.code, self.body = status, code, body or {"error": code}


@dataclass
class Repo:
    commits: dict[str, dict[str, str]] = field(default_factory=dict)  # commit -> path -> blob key
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False

    def commit(self, files: dict[str, str], parent: str) -> str:
        text = json.dumps([parent, sorted(files.items()), len(self.commits)])
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit] = files
        return commit

    def resolve(self, revision: str) -> str:
        commit = self.branches.get(revision, revision)
        if commit not in self.commits:
            raise RefusedError(404, "RevisionNotFound")
        return commit


class FakeHub:
    """Start with `with FakeHub() as hub`; `hub.url` is its endpoint."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.lfs: set[str] = set()
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.messages: list[str] = []  # Summary and description of every commit.
        self.lock = threading.RLock()

    def __enter__(self) -> "FakeHub":
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def log_message(self, *args: Any) -> None: ...

            def handle_any(self) -> None:
                hub.answer(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.server.shutdown()
        self.server.server_close()

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, line)) for line in self.requests)

    def files(self, repo: str, revision: str) -> dict[str, bytes]:
        tree = self.repos[repo].commits[self.repos[repo].branches[revision]]
        return {path: self.blobs[key] for path, key in tree.items() if path != ".gitattributes"}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        line = f"{request.command} {unquote(request.path)}"
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self.lock:
            self.requests.append(line)
            fault = next((f for f in self.faults if f.times and re.search(f.pattern, line)), None)
            if fault:
                fault.times -= 1
            status, headers, data = 200, {}, b""
            if not fault or fault.after:
                try:
                    status, headers, data = self.route(request, body)
                except RefusedError as refused:
                    status, headers = refused.status, {"X-Error-Code": refused.code}
                    data = json.dumps(refused.body).encode()
            if fault:
                status, headers, data = fault.status, fault.headers, b'{"error":"fault"}'
        if fault and fault.cut:
            request.close_connection = True
            request.connection.close()
            return
        request.send_response_only(status)  # Faults send dates of their own.
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)
        request.wfile.flush()

    def route(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        url = urlsplit(request.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        secret = self.token and "resolve" not in parts and parts[0] != "lfs"
        if secret and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise RefusedError(401, "Unauthorized")
        match parts:
            case ["api", "whoami-v2"]:
                return as_json({"type": "user", "name": "tester"})
            case ["api", "repos", "create"]:
                return self.create(json.loads(body))
            case ["api", "validate-yaml"]:
                return as_json({"errors": [], "warnings": []})
            case ["lfs", oid]:
                if hashlib.sha256(body).hexdigest() != oid:
                    raise RefusedError(400, "BadDigest")
                self.blobs[oid] = body
                self.lfs.add(oid)
                return as_json({})
            case [org, name, "info", "lfs", "objects", "batch"] if name.endswith(".git"):
                return as_json({"transfer": "basic", "objects": [self.offer(o) for o in json.loads(body)["objects"]]})
            case [org, name, "resolve", revision, *path]:
                return self.resolve(self.repo(f"{org}/{name}"), revision, "/".join(path), request)
            case ["api", "models", org, name, *rest]:
                return self.model(request.command, f"{org}/{name}", rest, parse_qs(url.query), body)
        raise RefusedError(404, "NoRoute")

    def repo(self, name: str) -> Repo:
        if name not in self.repos:
            raise RefusedError(404, "RepoNotFound")
        return self.repos[name]

    def create(self, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        name = f"{body['organization']}/{body['name']}" if body.get("organization") else body["name"]
        fields = {"url": f"{self.url}/{name}", "id": name}
        if name in self.repos:
            raise RefusedError(409, "Conflict", fields)
        repo = self.repos[name] = Repo(private=body.get("visibility") == "private")
        repo.branches["main"] = repo.commit({".gitattributes": self.blob(b"*.safetensors filter=lfs\n")}, "")
        return as_json(fields)

    def blob(self, content: bytes) -> str:
        key = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        self.blobs[key] = content
        return key

    def offer(self, wanted: dict[str, Any]) -> dict[str, Any]:
        fields = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in self.lfs:
            fields["actions"] = {"upload": {"href": f"{self.url}/lfs/{wanted['oid']}", "header": {}}}
        return fields

    def model(
        self, method: str, name: str, rest: list[str], query: dict[str, list[str]], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        repo = self.repo(name)
        match [method, *rest]:
            case ["GET", "refs"]:
                refs = [
                    {"name": b, "ref": f"refs/heads/{b}", "targetCommit": c} for b, c in sorted(repo.branches.items())
                ]
                return as_json({"branches": refs, "tags": [], "converts": []})
            case ["POST", "branch", branch]:
                if branch in repo.branches:
                    raise RefusedError(409, "Conflict")
                repo.branches[branch] = repo.resolve(json.loads(body).get("startingPoint", "main"))
                return as_json({})
            case ["DELETE", "branch", branch]:
                if branch == "main" or branch not in repo.branches:
                    raise RefusedError(404, "RevisionNotFound")
                del repo.branches[branch]
                return as_json({})
            case ["POST", "preupload", revision]:
                tree = repo.commits[repo.resolve(revision)]
                return as_json({"files": [self.mode(file, tree) for file in json.loads(body)["files"]]})
            case ["POST", "commit", branch]:
                return self.commit(name, branch, [json.loads(line) for line in body.splitlines()])
            case ["GET", "tree", _, _, *_]:
                raise RefusedError(404, "EntryNotFound")  # No revision here has folders.
            case ["GET", "tree", revision]:
                tree = repo.commits[repo.resolve(revision)]
                return as_json([self.entry(path, key) for path, key in sorted(tree.items())])
            case ["GET"] | ["GET", "revision", _]:
                commit = repo.resolve(rest[1] if rest else "main")
                files = [{"rfilename": path} for path in sorted(repo.commits[commit])]
                fields = {"_id": name, "id": name, "modelId": name, "sha": commit, "siblings": files, "tags": []}
                return as_json({**fields, "private": repo.private})
        raise RefusedError(404, "NoRoute")

    def mode(self, file: dict[str, Any], tree: dict[str, str]) -> dict[str, Any]:
        lfs = file["path"].endswith(".safetensors") or file["size"] > LFS_ABOVE
        fields = {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        return {**fields, "oid": tree[file["path"]]} if file["path"] in tree else fields

    def entry(self, path: str, key: str) -> dict[str, Any]:
        size = len(self.blobs[key])
        fields = {"type": "file", "path": path, "size": size, "oid": key[:40]}
        return {**fields, "lfs": {"oid": key, "size": size, "pointerSize": 130}} if key in self.lfs else fields

    def commit(self, name: str, branch: str, lines: list[dict[str, Any]]) -> tuple[int, dict[str, str], bytes]:
        repo = self.repo(name)
        if branch not in repo.branches:
            raise RefusedError(404, "RevisionNotFound")
        head = repo.branches[branch]
        files = dict(repo.commits[head])
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header" if value.get("parentCommit", head) != head:
                    raise RefusedError(412, "PreconditionFailed")
                case "header":
                    self.messages.append(f"{value['summary']}\n{value['description']}")
                case "file":
                    files[value["path"]] = self.blob(base64.b64decode(value["content"]))
                case "lfsFile":
                    if value["oid"] not in self.lfs:
                        raise RefusedError(400, "LfsNotUploaded")
                    files[value["path"]] = value["oid"]
                case "deletedFile":
                    del files[value["path"]]
        repo.branches[branch] = commit = repo.commit(files, head)
        return as_json({"commitUrl": f"{self.url}/{name}/commit/{commit}", "commitOid": commit, "hookOutput": ""})

    def resolve(
        self, repo: Repo, revision: str, path: str, request: BaseHTTPRequestHandler
    ) -> tuple[int, dict[str, str], bytes]:
        commit = repo.resolve(revision)
        if path not in repo.commits[commit]:
            raise RefusedError(404, "EntryNotFound")
        key = repo.commits[commit][path]
        data = self.blobs[key]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{key}"', "Accept-Ranges": "bytes"}
        if key in self.lfs:
            headers |= {"X-Linked-ETag": f'"{key}"', "X-Linked-Size": str(len(data))}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")):
            first, last = int(asked[1]), int(asked[2] or len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return 206, headers, data[first : last + 1]
        return 200, headers, data


def as_json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps(value).encode()
