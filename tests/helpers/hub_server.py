"""Our own loopback Hub: as much of the Hub's HTTP as the real huggingface_hub client uses here.

Large files come in through LFS (batch, PUT) or through Xet, whose content store is a local folder that hf-xet
itself reads and writes (``local://``). Faults are injected by method and path.
It is no independent Hub: where it and the real one differ, it is wrong.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_store import Account, Blob, Commit, Fault, RefusalError, Repo, Store

LARGE = (".parquet", ".safetensors")
PAGE = 5  # entries of a tree in one answer: few, so that tests turn the page


class HubServer(Store):
    """A running server; `endpoint` is for HF_ENDPOINT. Close it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.hub = self  # type: ignore[attr-defined]
        self.endpoint = f"http://127.0.0.1:{self.http.server_port}"
        self.elsewhere = f"http://localhost:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(5)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def hub(self) -> HubServer:
        return self.server.hub  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        self.route, self.query = unquote(parts.path), parse_qs(parts.query)
        with self.hub.lock:
            self.hub.requests.append((self.command, self.path))
            fault = next((f for f in self.hub.faults if self._meets(f)), None)
            if fault:
                fault.times -= 1
        if fault and fault.drop and not fault.call:
            self.rfile.read(min(1000, int(self.headers.get("Content-Length") or 0)))
            return self._hang_up()
        body = self._body()
        if fault and fault.call:
            fault.call()
            if fault.drop:
                return self._hang_up()
        if fault and fault.status:
            return self._answer(fault.status, fault.answer)
        try:
            with self.hub.lock:
                status, answer, headers = self._dispatch(body)
        except RefusalError as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            status, answer = refusal.status, {"error": refusal.message}
            headers = {name: value for name, value in headers.items() if value}
        if fault and fault.lose:
            return self._hang_up()
        return self._answer(status, answer, headers)

    def _meets(self, fault: Fault) -> bool:
        return fault.times > 0 and fault.method == self.command and bool(re.search(fault.path, self.path))

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    # Who asks, and what.

    def _account(self) -> Account | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        account = self.hub.accounts.get(header.removeprefix("Bearer "))
        if account is None:
            raise RefusalError(401, message="Invalid credentials in Authorization header")
        return account

    def _may_write(self, repo: str, *, pull_request: bool = False) -> None:
        account = self._account()
        if account is None:
            raise RefusalError(401, message="Invalid username or password.")
        if not (account.owns(repo) or (pull_request and account.role == "write")):
            raise RefusalError(403, message=f"You don't have the rights to write to {repo}")

    def _repo(self, kind: str, name: str) -> Repo:
        if (kind, name) not in self.hub.repos:
            raise RefusalError(404 if self._account() else 401, "RepoNotFound", "Repository not found")
        self._account()
        return self.hub.repos[kind, name]

    def _commit(self, kind: str, name: str, revision: str) -> Commit:
        commit = self._repo(kind, name).at(revision)
        if commit is None:
            raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _dispatch(self, body: bytes) -> tuple[int, Any, dict[str, str]]:
        for pattern, method in ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {self.route}"):
                parts = match.groupdict()
                if "kind" in parts:
                    parts["kind"] = parts["kind"] or "model"
                status, answer, *headers = getattr(self, method)(body, **parts)
                return status, answer, headers[0] if headers else {}
        raise RefusalError(404, message=f"no such route: {self.command} {self.route}")

    def whoami(self, body: bytes) -> Any:
        account = self._account()
        if account is None:
            raise RefusalError(401, message="Invalid username or password.")
        token = {"displayName": "test", "role": account.role}
        orgs = [{"name": name} for name in account.orgs]
        return 200, {"type": "user", "name": account.name, "orgs": orgs, "auth": {"accessToken": token}}

    def lend(self, body: bytes) -> Any:
        """A token for a job that shows its identity, for one repository: it has no account to ask for."""
        request = json.loads(body)
        token = self.hub.jobs.get((request["subject_token"], request["resource"]))
        if token is None:
            raise RefusalError(401, message="no trusted publisher")
        return 200, {"access_token": token, "expires_in": 60}

    def validate(self, body: bytes) -> Any:
        front = re.match(r"---\n(.+?)\n---\n", json.loads(body)["content"], re.DOTALL)
        return (200, {}) if front else (400, {"errors": [{"message": "no front matter"}]})

    def create(self, body: bytes) -> Any:
        request = json.loads(body)
        kind, repo = request["type"], f"{request['organization']}/{request['name']}"
        self._may_write(repo)
        answer = {"url": f"{self.hub.endpoint}/{kind}s/{repo}"}
        if (kind, repo) in self.hub.repos:
            return 409, {"error": "You already created this repo", **answer}
        if kind == "space" and request.get("sdk") != "static":
            raise RefusalError(400, message="sdk must be static here")
        self.hub.create(kind, repo)
        return 200, answer

    def info(self, body: bytes, kind: str, repo: str, revision: str | None) -> Any:
        return 200, {"id": repo, "sha": self._commit(kind, repo, revision or "main").oid, "private": False}

    def tree(self, body: bytes, kind: str, repo: str, revision: str) -> Any:
        tree = self._commit(kind, repo, revision).tree
        entries: list[dict[str, Any]] = []
        hashes = self.hub.xet_hashes()
        folders = {str(p) for name in tree for p in Path(name).parents} - {"."}
        entries += [
            {"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)
        ]
        for path, blob in tree.items():
            entry: dict[str, Any] = {"type": "file", "path": path, "oid": blob.oid, "size": len(blob.data)}
            if blob.sha256:
                entry |= {"size": blob.size, "xetHash": hashes.get(blob.sha256)}
                entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 130}
            entries.append(entry)
        start = int(self.query.get("cursor", ["0"])[0])
        url = f"{self.hub.endpoint}{urlsplit(self.path).path}?recursive=true&cursor={start + PAGE}"
        link = {"Link": f'<{url}>; rel="next"'} if start + PAGE < len(entries) else {}
        return 200, entries[start : start + PAGE], link

    def preupload(self, body: bytes, kind: str, repo: str, revision: str) -> Any:
        self._may_write(repo, pull_request="create_pr" in self.query)
        tree = self._commit(kind, repo, revision).tree
        return 200, {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": tree[file["path"]].oid if file["path"] in tree else None,
                }
                for file in json.loads(body)["files"]
            ]
        }

    def commit(self, body: bytes, kind: str, repo: str, revision: str) -> Any:
        pull_request = "create_pr" in self.query
        self._may_write(repo, pull_request=pull_request)
        stored, head = self._repo(kind, repo), self._commit(kind, repo, revision)
        header, *lines = [json.loads(line) for line in body.splitlines()]
        if header["value"].get("parentCommit", head.oid) != head.oid:
            raise RefusalError(412, message="A commit has happened since. Please refresh and try again.")
        tree = dict(head.tree)
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "file":
                tree[value["path"]] = Blob(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                if not self.hub.stored(value["oid"]):
                    raise RefusalError(400, message=f"{value['path']}: its object was never uploaded")
                tree[value["path"]] = Blob(sha256=value["oid"], size=value["size"])
            elif tree.pop(value["path"], None) is None:
                raise RefusalError(404, "EntryNotFound", f"no such file: {value['path']}")
        number = sum(ref.startswith("refs/pr/") for ref in stored.refs) + 1
        ref = f"refs/pr/{number}" if pull_request else revision
        new = stored.add(tree, header["value"]["summary"], ref)
        url = f"{self.hub.endpoint}/{kind}s/{repo}"
        answer = {"success": True, "commitOid": new.oid, "commitUrl": f"{url}/commit/{new.oid}"}
        return 200, answer | ({"pullRequestUrl": f"{url}/discussions/{number}"} if pull_request else {})

    def xet_token(self, body: bytes, kind: str, repo: str, right: str, revision: str) -> Any:
        if right == "write":
            self._may_write(repo, pull_request="create_pr" in self.query)
        self._repo(kind, repo)
        url, until = f"local://{self.hub.cas}", int(time.time()) + 3600
        headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(until)}
        return 200, {"casUrl": url, "exp": until, "accessToken": "xet"}, headers

    def batch(self, body: bytes, kind: str, repo: str) -> Any:
        self._may_write(repo, pull_request=True)  # what an object is for shows when it is committed
        objects = []
        for item in json.loads(body)["objects"]:
            actions = {"upload": {"href": f"{self.hub.endpoint}/lfs/{item['oid']}"}}
            objects.append(item if self.hub.stored(item["oid"]) else {**item, "actions": actions})
        return 200, {"transfer": "basic", "objects": objects}

    def upload(self, body: bytes, sha256: str) -> Any:
        if hashlib.sha256(body).hexdigest() != sha256:
            raise RefusalError(400, message="not the content that was announced")
        self.hub.objects[sha256] = body
        return 200, {}

    def resolve(self, body: bytes, kind: str, repo: str, revision: str, path: str) -> Any:
        commit = self._commit(kind, repo, revision)
        if path not in commit.tree:
            raise RefusalError(404, "EntryNotFound", f"no such file: {path}")
        blob = commit.tree[path]
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.sha256 or blob.oid}"'}
        if blob.sha256 is None:
            return 200, blob.data, headers
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-ETag": f'"{blob.sha256}"'}
        headers["Location"] = f"{self.hub.elsewhere}/objects/{blob.sha256}?size={blob.size}"
        if xet_hash := self.hub.xet_hashes().get(blob.sha256):
            token = f"{self.hub.endpoint}/api/{kind}s/{repo}/xet-read-token/{commit.oid}"
            headers |= {"X-Xet-Hash": xet_hash, "Link": f'<{token}>; rel="xet-auth"'}
        return 302, b"", headers

    def stored(self, body: bytes, sha256: str) -> Any:
        if "Authorization" in self.headers:
            raise RefusalError(400, message="the token was shown to another host")
        return 200, self.hub.content(Blob(sha256=sha256, size=int(self.query["size"][0])))


REPO = r"(?P<kind>dataset|space|model)s/(?P<repo>[^/]+/[^/]+)"
PLACE = r"(?:(?P<kind>dataset|space)s/)?(?P<repo>[^/]+/[^/]+)"  # outside the API models have no prefix
ROUTES = [
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /oauth/token", "lend"),
    (r"POST /api/validate-yaml", "validate"),
    (r"POST /api/repos/create", "create"),
    (rf"GET /api/{REPO}(?:/revision/(?P<revision>.+))?", "info"),
    (rf"GET /api/{REPO}/tree/(?P<revision>refs/pr/\d+|[^/]+)/?", "tree"),
    (rf"POST /api/{REPO}/preupload/(?P<revision>.+)", "preupload"),
    (rf"POST /api/{REPO}/commit/(?P<revision>.+)", "commit"),
    (rf"GET /api/{REPO}/xet-(?P<right>read|write)-token/(?P<revision>.+)", "xet_token"),
    (rf"POST /{PLACE}\.git/info/lfs/objects/batch", "batch"),
    (r"PUT /lfs/(?P<sha256>\w{64})", "upload"),
    (rf"(?:GET|HEAD) /{PLACE}/resolve/(?P<revision>refs/pr/\d+|[^/]+)/(?P<path>.+)", "resolve"),
    (r"(?:GET|HEAD) /objects/(?P<sha256>\w{64})", "stored"),
]
