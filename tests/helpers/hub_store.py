"""What our loopback Hub holds: repositories in memory, large files in memory or in a Xet content store."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Account:
    name: str
    orgs: tuple[str, ...] = ("acme",)
    role: str = "write"

    def owns(self, repo: str) -> bool:
        return self.role == "write" and repo.split("/")[0] in (self.name, *self.orgs)


@dataclass(frozen=True)
class Blob:
    """A file in a tree: its bytes, or the hash of an object stored apart."""

    data: bytes = b""
    sha256: str | None = None
    size: int = 0

    @property
    def oid(self) -> str:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n"
        content = pointer.encode() if self.sha256 else self.data
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    message: str
    tree: dict[str, Blob]


@dataclass
class Repo:
    commits: list[Commit] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)

    def at(self, revision: str) -> Commit | None:
        oid = self.refs.get(revision, revision)
        return next((commit for commit in self.commits if commit.oid == oid), None)

    def add(self, tree: dict[str, Blob], message: str, ref: str = "main") -> Commit:
        parent = self.refs.get(ref) or self.refs.get("main")
        seed = json.dumps([parent, message, len(self.commits), sorted(tree)])
        commit = Commit(hashlib.sha1(seed.encode()).hexdigest(), parent, message, tree)
        self.commits.append(commit)
        self.refs[ref] = commit.oid
        return commit


@dataclass
class Fault:
    """What to do to the next `times` requests that match: answer `status`, drop the line, wait, call."""

    method: str
    path: str
    times: int = 1
    status: int | None = None
    drop: bool = False
    lose: bool = False  # do the work, then drop the line instead of answering
    call: Callable[[], Any] | None = None
    answer: Any = field(default_factory=lambda: {"error": "injected"})


class RefusalError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class Store:
    """What the Hub holds, and what tests ask of it and do to it."""

    def __init__(self, folder: Path) -> None:
        self.endpoint = ""
        self.cas = folder / "cas"
        self.accounts: dict[str, Account] = {}
        self.jobs: dict[tuple[str, str], str] = {}  # a job's identity and a repository: the token it is lent
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.RLock()

    def fail(self, method: str, path: str, **what: Any) -> Fault:
        fault = Fault(method, path, **what)
        self.faults.append(fault)
        return fault

    def count(self, method: str, path: str) -> int:
        return sum(1 for verb, where in self.requests if verb == method and re.search(path, where))

    def uploads(self) -> int:
        return self.count("PUT", "/lfs/") + self.count("GET", "xet-write-token")

    def commits(self, kind: str, repo: str) -> int:
        stored = self.repos.get((kind, repo))
        return len(stored.commits) - 1 if stored else 0  # the first is the Hub's own

    def files(self, kind: str, repo: str, revision: str = "main") -> dict[str, bytes]:
        stored = self.repos[kind, repo]
        commit = stored.at(revision)
        assert commit is not None
        return {path: self.content(blob) for path, blob in commit.tree.items()}

    def create(self, kind: str, repo: str) -> Repo:
        tree = {".gitattributes": Blob(b"*.parquet filter=lfs\n*.safetensors filter=lfs\n")}
        if kind == "space":
            tree |= {name: Blob(b"the Hub's") for name in ("README.md", "index.html", "style.css")}
        stored = self.repos[kind, repo] = Repo()
        stored.add(tree, "initial commit")
        return stored

    def put(self, kind: str, repo: str, changes: dict[str, bytes | None]) -> Commit:
        """A commit by somebody else, with regular files."""
        stored = self.repos.get((kind, repo)) or self.create(kind, repo)
        head = stored.at("main")
        assert head is not None
        tree = {**head.tree, **{name: Blob(data) for name, data in changes.items() if data is not None}}
        return stored.add({k: v for k, v in tree.items() if changes.get(k, b"") is not None}, "by a rival")

    # Objects stored apart from git.

    def xet_hashes(self) -> dict[str, str]:
        """sha256 to Xet hash, of every file whose shard is in the content store."""
        shards: dict[str, str] = {}
        for shard in (self.cas / "xet" / "xorbs" / "shards").glob("*.mdb"):
            shards |= read_shard(shard.read_bytes())
        return shards

    def stored(self, sha256: str) -> bool:
        return sha256 in self.objects or sha256 in self.xet_hashes()

    def content(self, blob: Blob) -> bytes:
        if blob.sha256 is None:
            return blob.data
        if blob.sha256 not in self.objects:
            self.objects[blob.sha256] = self._from_xet(self.xet_hashes()[blob.sha256], blob.size)
        return self.objects[blob.sha256]

    def _from_xet(self, xet_hash: str, size: int) -> bytes:
        """Put a file together from its chunks, as the real one does for clients without Xet."""
        import hf_xet
        from huggingface_hub.utils._xet import get_xet_session

        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "file")
            session = get_xet_session()
            with session.new_file_download_group(
                endpoint=f"local://{self.cas}",
                token="none",
                token_expiry_unix_secs=int(time.time()) + 3600,
                token_refresh_url=f"{self.endpoint}/nowhere",
                token_refresh_headers={},
                custom_headers={},
            ) as group:
                group.start_download_file(hf_xet.XetFileInfo(xet_hash, size), str(place))
            return place.read_bytes()


def read_shard(data: bytes) -> dict[str, str]:
    """The files of a Xet shard, sha256 to Xet hash. Records have 48 bytes; a hash of ones ends the list."""

    def hexed(raw: bytes) -> str:
        return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))

    hashes: dict[str, str] = {}
    offset = 48
    while data[offset : offset + 32] != b"\xff" * 32:
        flags, entries = struct.unpack("<II", data[offset + 32 : offset + 40])
        xet_hash, offset = (
            hexed(data[offset : offset + 32]),
            offset + 48 + 48 * entries * (2 if flags >> 31 else 1),
        )
        if flags >> 30 & 1:
            hashes[hexed(data[offset : offset + 32])] = xet_hash
            offset += 48
    return hashes
