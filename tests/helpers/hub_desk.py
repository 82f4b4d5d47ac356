"""For the tests of the Hub: a user with something to publish, and the loopback Hub to publish it to."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
from hub_run import records_of
from hub_server import HubServer
from hub_store import Account, Blob

import lrt_bench
from lrt_bench.data.hub.client import Content

TOKEN, READER, GUEST = "hf_RightTokenRightToken", "hf_ReaderReaderReader", "hf_GuestGuestGuestGuest"
DATASET, SPACE = "acme/results", "acme/board"
RUN = Path(__file__).with_name("hub_run.py")


@dataclasses.dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out.splitlines()[-1])

    @property
    def error(self) -> str:
        """The one line that the user is shown."""
        assert self.code == 2, self.out + self.err
        assert "Traceback" not in self.err
        return self.err.splitlines()[-1]


@dataclasses.dataclass
class Desk:
    """A user at a machine: folders to publish, a home of the client's, and the Hub."""

    hub: HubServer
    folder: Path
    processes: list[subprocess.Popen[str]] = dataclasses.field(default_factory=list)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def records(self) -> dict[str, Path]:
        return records_of(self.results)

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def start(
        self,
        what: str,
        token: str | None = TOKEN,
        xet: bool = False,
        environ: dict[str, str] | None = None,
        **arguments: Any,
    ) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.folder / "home")}
        environment |= {
            "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "1",
            "HF_XET_CLIENT_RETRY_BASE_DELAY": "1ms",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        environment["HF_HUB_DISABLE_XET"] = "0" if xet else "1"
        environment["PYTHONPATH"] = str(Path(lrt_bench.__file__).parents[1])  # the package under test
        if token:
            environment["HF_TOKEN"] = token
        environment |= environ or {}
        process = subprocess.Popen(
            [sys.executable, str(RUN), what, json.dumps(arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, what: str, token: str | None = TOKEN, **arguments: Any) -> Outcome:
        """Do it; whatever happens, the token is not shown."""
        process = self.start(what, token, **arguments)
        out, err = process.communicate(timeout=60)
        for secret in (TOKEN, READER, GUEST, token or TOKEN):
            assert secret not in out + err
        return Outcome(process.returncode, out, err)

    def board(self, token: str | None = TOKEN, **arguments: Any) -> Outcome:
        """Publish the leaderboard: the dataset alone, unless told otherwise."""
        options = {"space": None, "dataset": DATASET, **arguments}
        return self.run("board", token, results=str(self.results), site=str(self.site), **options)

    @property
    def files(self) -> dict[str, str]:
        """A dataset without the costly parts: what to publish where the files do not matter."""
        files = {f"results/{name}": str(self.results / name) for name in tree_of(self.results)}
        return {"README.md": str(self.folder / "card.md"), **files}

    def content(self) -> dict[str, bytes]:
        return {name: Path(path).read_bytes() for name, path in self.files.items()}

    def publish(self, token: str | None = TOKEN, **arguments: Any) -> Outcome:
        options = {"repo": DATASET, "kind": "dataset", "files": self.files, **arguments}
        return self.run("publish", token, **options)

    def pull(self, token: str | None = TOKEN, **arguments: Any) -> Outcome:
        return self.run("pull", token, repo=DATASET, out=str(self.folder / "pulled"), **arguments)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A leaderboard of two results, nothing published yet; no process is left behind."""
    monkeypatch.setenv("HF_XET_LOG_DEST", str(tmp_path / "xet-logs"))  # the server reads Xet files itself
    server = HubServer(tmp_path / "hub")
    server.accounts = {
        TOKEN: Account("ann"),
        READER: Account("ann", role="read"),
        GUEST: Account("guest", orgs=()),
    }
    desk = Desk(server, tmp_path)
    downloads = desk.site / "downloads"
    downloads.mkdir(parents=True)
    (desk.site / "assets").mkdir()
    (tmp_path / "card.md").write_text("---\npretty_name: results\n---\n")
    (desk.site / "index.html").write_text("<h1>board</h1>")
    (desk.site / "assets" / "x.js").write_text("1")
    frame = pandas.DataFrame({
        "suite": "nano", "pair": "S-L", "mapping": ["ridge", "affine"], "score": [99.5, 98.0], "rank": [1, 2],
        "created": "2026-11-27T00:00:00+00:00",
    })  # fmt: skip
    frame.to_parquet(downloads / "table.parquet")
    frame.assign(task="sentiment").to_parquet(downloads / "tasks.parquet")
    for name in ("ridge", "affine"):
        place = desk.results / "nano" / "S-L" / f"{name}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"mapping": name}))
        place.with_suffix(".safetensors").write_bytes(name.encode() * 9000)
    yield desk
    for process in desk.processes:
        process.kill()
        process.wait()
    server.close()


def written(files: dict[str, Content]) -> dict[str, bytes]:
    return {n: c if isinstance(c, bytes) else c.read_bytes() for n, c in files.items()}


def without_attributes(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name != ".gitattributes"}


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@dataclasses.dataclass(frozen=True)
class Corrupt(Blob):
    """A blob whose bytes are not what its name says."""

    true: str = ""

    @property
    def oid(self) -> str:
        return self.true
