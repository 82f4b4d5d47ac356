"""Publishing and fetching, with the real client against our own loopback Hub, over Xet and over LFS."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml
from hub_server import HubServer
from hub_store import Account, Blob

from lrt_bench import hub
from lrt_bench.errors import UserError
from lrt_bench.hub_cards import dataset_files, space_files

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

    @property
    def results(self) -> Path:
        return self.folder / "results"

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
        environment["PYTHONPATH"] = str(Path(hub.__file__).parents[1])  # the package under test
        if token:
            environment["HF_TOKEN"] = token
        environment |= environ or {}
        return subprocess.Popen(
            [sys.executable, str(RUN), what, json.dumps(arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, what: str, token: str | None = TOKEN, **arguments: Any) -> Outcome:
        """Do it; whatever happens, the token is not shown."""
        process = self.start(what, token, **arguments)
        out, err = process.communicate(timeout=60)
        for secret in (TOKEN, READER, GUEST, token or TOKEN):
            assert secret not in out + err
        return Outcome(process.returncode, out, err)

    def board(self, token: str | None = TOKEN, **arguments: Any) -> Outcome:
        """Publish the leaderboard: the dataset alone, unless told otherwise."""
        asked = {"space": None, "dataset": DATASET, **arguments}
        return self.run("board", token, results=str(self.results), site=str(self.site), **asked)

    @property
    def files(self) -> dict[str, str]:
        """A dataset without the costly parts: what to publish where the files do not matter."""
        found = {f"results/{name}": str(self.results / name) for name in tree_of(self.results)}
        return {"README.md": str(self.folder / "card.md"), **found}

    def content(self) -> dict[str, bytes]:
        return {name: Path(path).read_bytes() for name, path in self.files.items()}

    def publish(self, token: str | None = TOKEN, **arguments: Any) -> Outcome:
        asked = {"repo": DATASET, "kind": "dataset", "files": self.files, **arguments}
        return self.run("publish", token, **asked)

    def pull(self, token: str | None = TOKEN, **arguments: Any) -> Outcome:
        return self.run("pull", token, repo=DATASET, out=str(self.folder / "pulled"), **arguments)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
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
    frame = pandas.DataFrame({"mapping": ["ridge", "affine"], "score": [99.5, 98.0]})
    frame.to_parquet(downloads / "table.parquet")
    frame.assign(task="sentiment").to_parquet(downloads / "tasks.parquet")
    for name in ("ridge", "affine"):
        place = desk.results / "nano" / "S-L" / f"{name}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"mapping": name}))
        place.with_suffix(".safetensors").write_bytes(name.encode() * 9000)
    yield desk
    server.close()


def written(files: dict[str, hub.Content]) -> dict[str, bytes]:
    return {n: c if isinstance(c, bytes) else c.read_bytes() for n, c in files.items()}


def without_attributes(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name != ".gitattributes"}


# Publishing.


@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_first_publish_then_nothing_then_one_file_then_one_gone(desk: Desk, xet: bool) -> None:
    first = desk.board(space=SPACE, xet=xet, verify=True).value
    assert [(p["repo"], p["kind"]) for p in first] == [(DATASET, "dataset"), (SPACE, "space")]
    assert desk.hub.commits("dataset", DATASET) == desk.hub.commits("space", SPACE) == 1
    files = written(dataset_files(desk.results, desk.site, repo=DATASET))
    assert without_attributes(desk.hub.files("dataset", DATASET)) == files
    assert sorted(first[0]["added"]) == sorted(files)
    pages = written(space_files(desk.site, hub.TITLE, dataset=DATASET))
    assert without_attributes(desk.hub.files("space", SPACE)) == pages
    assert first[1]["removed"] == ["style.css"]  # the Hub's own first page
    assert ".gitattributes" in desk.hub.files("space", SPACE)
    assert (desk.hub.count("PUT", "/lfs/") == 0) == xet

    uploads = desk.hub.uploads()
    again = desk.board(space=SPACE, xet=xet)
    assert [p["commit"] for p in again.value] == [None, None]
    assert "nothing differs" in again.out
    assert desk.hub.uploads() == uploads

    (desk.results / "nano" / "S-L" / "ridge.safetensors").write_bytes(b"other")
    changed = desk.board(space=SPACE, xet=xet).value
    assert changed[0]["changed"] == ["results/nano/S-L/ridge.safetensors"]
    assert (changed[0]["added"], changed[0]["removed"]) == ([], [])
    assert changed[0]["commit"] == desk.hub.repos["dataset", DATASET].refs["main"]
    assert desk.hub.files("dataset", DATASET)["results/nano/S-L/ridge.safetensors"] == b"other"
    assert desk.hub.uploads() == uploads + 1

    (desk.results / "nano" / "S-L" / "ridge.json").unlink()
    gone = desk.board(xet=xet).value[0]
    assert gone["removed"] == [f"results/nano/S-L/ridge.{end}" for end in ("json", "safetensors")]
    assert desk.hub.commits("dataset", DATASET) == 3
    assert desk.hub.commits("space", SPACE) == 1


def test_dry_run_changes_nothing_and_wants_no_token(desk: Desk) -> None:
    outcome = desk.board(token=None, space=SPACE, dry_run=True)
    assert "would be added: results/nano/S-L/ridge.json" in outcome.out
    assert outcome.value[1]["commit"] is None
    assert not desk.hub.repos
    assert not [method for method, _ in desk.hub.requests if method not in ("GET", "HEAD")]
    desk.board()
    (desk.results / "nano" / "S-L" / "ridge.json").unlink()
    (desk.results / "nano" / "S-L" / "affine.json").write_text("{}")
    desk.hub.requests.clear()
    again = desk.board(dry_run=True).value[0]
    assert again["changed"] == ["results/nano/S-L/affine.json"]
    assert len(again["removed"]) == 2
    assert desk.hub.commits("dataset", DATASET) == 1
    assert not [method for method, _ in desk.hub.requests if method not in ("GET", "HEAD")]


@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_pull_request_leaves_main_alone(desk: Desk, xet: bool) -> None:
    desk.publish()
    before = desk.hub.files("dataset", DATASET)
    (desk.results / "nano" / "S-L" / "ridge.json").write_text("{}")
    (desk.results / "nano" / "S-L" / "ridge.safetensors").write_bytes(b"new")
    done = desk.publish(create_pr=True, verify=True, xet=xet).value[0]
    assert done["pr_url"].endswith(f"/datasets/{DATASET}/discussions/1")
    assert desk.hub.files("dataset", DATASET) == before
    asked = desk.hub.files("dataset", DATASET, "refs/pr/1")
    assert asked["results/nano/S-L/ridge.json"] == b"{}"


def test_the_token_is_written_nowhere(desk: Desk) -> None:
    desk.publish(xet=True, verify=True)
    desk.hub.fail("POST", "/commit/", status=500, times=9)
    desk.publish(xet=True, files={"README.md": str(desk.site / "index.html")})
    assert desk.hub.uploads() == 1
    for path in (desk.folder / "home").rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


# Who may.


def test_no_token(desk: Desk) -> None:
    assert "no token: set HF_TOKEN" in desk.publish(token=None).error
    assert not desk.hub.requests


def test_stored_token_is_used(desk: Desk) -> None:
    home = desk.folder / "home"
    home.mkdir()
    (home / "token").write_text(TOKEN)
    assert desk.publish(token=None).value[0]["commit"]


def test_a_jobs_identity_is_enough(desk: Desk) -> None:
    desk.hub.jobs["the job's", f"datasets/{DATASET}"] = TOKEN
    job = {"HF_OIDC_RESOURCE": f"datasets/{DATASET}", "HF_OIDC_ID_TOKEN": "the job's"}
    assert desk.publish(token=None, environ=job).value[0]["commit"]
    assert desk.hub.count("GET", "whoami") == 0
    job["HF_OIDC_ID_TOKEN"] = "a stranger's"
    assert "add the job's repository to the trusted publishers" in desk.publish(token=None, environ=job).error
    del job["HF_OIDC_ID_TOKEN"]
    assert "HF_OIDC_RESOURCE is set" in desk.publish(token=None, environ=job).error


def test_offline(desk: Desk) -> None:
    assert "HF_HUB_OFFLINE is set" in desk.publish(environ={"HF_HUB_OFFLINE": "1"}).error


def test_wrong_token(desk: Desk) -> None:
    assert "does not know this token (401): set HF_TOKEN" in desk.publish(token="hf_WrongWrongWrong").error
    assert desk.hub.count("POST", "") == 0


def test_read_only_token(desk: Desk) -> None:
    assert "may not write there (403)" in desk.publish(token=READER).error
    desk.hub.create("dataset", DATASET)
    assert "may not write there (403)" in desk.publish(token=READER).error
    assert desk.hub.commits("dataset", DATASET) == 0


def test_organisation_that_is_missing_or_not_ones_own(desk: Desk) -> None:
    error = desk.publish(repo="nobody/results").error
    assert "nobody or a member of that organisation, which must exist" in error
    assert not desk.hub.repos


@pytest.mark.parametrize("token", [TOKEN, "odd.Shaped-token"])
def test_token_in_the_servers_answer_is_not_shown(desk: Desk, token: str) -> None:
    desk.hub.accounts[token] = Account("ann")
    fault = desk.hub.fail("POST", "/commit/", status=400)
    fault.answer = {"error": f"bad token {token} and {READER}"}
    assert "bad token *** and ***" in desk.publish(token).error


@pytest.mark.parametrize("repo", ["acme", "acme/a/b", "/x", "acme/..", "../acme", "a b/c", "acme/x.git", ""])
def test_names_that_are_none(repo: str) -> None:
    with pytest.raises(UserError, match="write ORG/NAME"):
        hub.Destination(repo, "space")


# When things go wrong.


def test_conflict_is_read_again_and_won(desk: Desk) -> None:
    desk.publish()
    (desk.results / "nano" / "S-L" / "ridge.json").write_text("{}")
    rival = {"README.md": b"mine", "stray.txt": b"x"}
    desk.hub.fail("POST", "/commit/", call=lambda: desk.hub.put("dataset", DATASET, rival))
    done = desk.publish().value[0]
    assert sorted(done["changed"]) == ["README.md", "results/nano/S-L/ridge.json"]
    assert done["removed"] == ["stray.txt"]
    assert without_attributes(desk.hub.files("dataset", DATASET)) == desk.content()


def test_conflict_that_persists(desk: Desk) -> None:
    desk.publish()
    (desk.results / "nano" / "S-L" / "ridge.json").write_text("{}")
    count = iter(range(99))
    rival = lambda: desk.hub.put("dataset", DATASET, {"stray.txt": b"%d" % next(count)})  # noqa: E731
    desk.hub.fail("POST", "/commit/", times=99, call=rival)
    assert "somebody else keeps committing" in desk.publish().error
    assert desk.hub.count("POST", "/commit/") == 1 + 6


def test_interrupted_upload_then_a_second_run_completes(desk: Desk) -> None:
    desk.publish()
    before = desk.hub.files("dataset", DATASET)
    for name in ("ridge", "affine"):
        (desk.results / "nano" / "S-L" / f"{name}.safetensors").write_bytes(name.encode() * 500_000)
    fault = desk.hub.fail("PUT", "/lfs/", times=99, drop=True)
    error = desk.publish().error
    assert "run the same command again" in error
    assert desk.hub.files("dataset", DATASET) == before
    fault.times = 0
    assert len(desk.publish(verify=True).value[0]["changed"]) == 2
    assert desk.hub.commits("dataset", DATASET) == 2


def test_interrupted_once_is_sent_again(desk: Desk) -> None:
    desk.hub.fail("PUT", "/lfs/", times=2, drop=True)
    assert desk.publish(verify=True).value[0]["commit"]
    assert desk.hub.commits("dataset", DATASET) == 1


@pytest.mark.parametrize("where", ["PUT /lfs/", "POST /commit/", "GET xet-write-token"])
def test_killed_half_way_then_a_second_run_completes(desk: Desk, where: str) -> None:
    xet = "xet" in where
    desk.publish(xet=xet)
    before = desk.hub.files("dataset", DATASET)
    (desk.results / "nano" / "S-L" / "ridge.safetensors").write_bytes(b"longer" * 100_000)
    (desk.results / "nano" / "S-L" / "ridge.json").write_text("{}")
    there, dead = threading.Event(), threading.Event()
    method, path = where.split()
    desk.hub.fail(method, path, call=lambda: (there.set(), dead.wait(20)), drop=True)
    asked = {"repo": DATASET, "kind": "dataset", "files": desk.files}
    process = desk.start("publish", xet=xet, **asked)
    assert there.wait(30)
    process.kill()
    process.communicate()
    dead.set()
    assert desk.hub.files("dataset", DATASET) == before
    assert len(desk.publish(xet=xet, verify=True).value[0]["changed"]) == 2
    assert desk.hub.commits("dataset", DATASET) == 2


def test_interrupted_by_its_user(desk: Desk) -> None:
    there, gone = threading.Event(), threading.Event()
    desk.hub.fail("PUT", "/lfs/", call=lambda: (there.set(), gone.wait(20)))
    asked = {"repo": DATASET, "kind": "dataset", "files": desk.files}
    process = desk.start("publish", **asked)
    assert there.wait(30)
    process.send_signal(signal.SIGINT)
    threading.Timer(0.2, gone.set).start()
    out, err = process.communicate(timeout=30)
    assert (
        "interrupted; what stands there is the last complete commit"
        in Outcome(process.returncode, out, err).error
    )
    assert desk.hub.commits("dataset", DATASET) == 0
    assert desk.publish().value[0]["commit"]


def test_lost_answer_to_a_commit_makes_no_second_one(desk: Desk) -> None:
    desk.hub.fail("POST", "/commit/", lose=True)
    done = desk.publish().value[0]
    assert done["commit"] == desk.hub.repos["dataset", DATASET].refs["main"]
    assert len(done["added"]) == 5
    assert desk.hub.commits("dataset", DATASET) == 1


def test_lost_answer_to_a_pull_request_is_not_tried_again(desk: Desk) -> None:
    desk.hub.create("dataset", DATASET)
    desk.hub.fail("POST", "/commit/", lose=True)
    assert "look first whether a pull request was opened" in desk.publish(create_pr=True).error
    assert desk.hub.count("POST", "/commit/") == 1


@pytest.mark.parametrize("path", ["whoami", "/api/datasets/acme/results$", "/tree/", "/commit/", "/create"])
def test_server_error_once_is_tried_again(desk: Desk, path: str) -> None:
    for method in ("GET", "POST"):
        desk.hub.fail(method, path, status=500)
    assert desk.publish().value[0]["commit"]
    assert desk.hub.commits("dataset", DATASET) == 1


@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_server_error_always_is_one_clear_line(desk: Desk, xet: bool) -> None:
    fault = desk.hub.fail("POST", "/commit/", status=502, times=999)
    assert "server error (502)" in desk.publish(xet=xet).error
    fault.method, fault.path = "GET" if xet else "POST", "xet-write-token" if xet else "batch"
    (desk.results / "nano" / "S-L" / "ridge.safetensors").write_bytes(b"other")
    assert "run the same command again" in desk.publish(xet=xet).error
    assert desk.hub.commits("dataset", DATASET) == 0
    fault.times = 0
    assert desk.publish(xet=xet, verify=True).value[0]["commit"]


def test_nobody_answers(desk: Desk) -> None:
    desk.hub.close()
    assert "the connection to the Hub broke" in desk.publish().error


@pytest.mark.parametrize("name", ["README.md", "results/nano/S-L/ridge.safetensors"])
def test_verify_catches_a_corrupted_file(desk: Desk, name: str) -> None:
    desk.publish(verify=True)
    data = desk.content()[name]
    wrong = data[:-1] + b"?"
    if name.endswith("md"):
        head = desk.hub.repos["dataset", DATASET].at("main")
        head.tree[name] = Corrupt(wrong, true=head.tree[name].oid)
    else:
        desk.hub.objects[hashlib.sha256(data).hexdigest()] = wrong
    error = desk.publish(verify=True).error
    assert f"{name}: downloaded again, not as published" in error


@dataclasses.dataclass(frozen=True)
class Corrupt(Blob):
    """A blob whose bytes are not what its name says."""

    true: str = ""

    @property
    def oid(self) -> str:
        return self.true


# Fetching.


@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_pull_brings_back_what_was_published(desk: Desk, xet: bool) -> None:
    desk.publish(xet=xet)
    first = desk.hub.repos["dataset", DATASET].refs["main"]
    out = desk.folder / "pulled"
    assert desk.pull(token=None, xet=xet).value == 4
    assert tree_of(out) == tree_of(desk.results)

    desk.hub.requests.clear()
    assert desk.pull(xet=xet).value == 0
    assert desk.hub.count("GET", "resolve|objects") == 0

    (desk.results / "nano" / "S-L" / "ridge.json").write_text("{}")
    (desk.results / "nano" / "S-L" / "affine.json").unlink()
    (out / "mine.txt").write_text("kept")
    desk.publish(xet=xet)
    assert desk.pull(xet=xet).value == 1
    assert (out / "nano" / "S-L" / "ridge.json").read_text() == "{}"
    assert (out / "nano" / "S-L" / "affine.json").is_file()
    assert (out / "mine.txt").read_text() == "kept"
    assert desk.pull(xet=xet, revision=first).value == 1
    assert json.loads((out / "nano" / "S-L" / "ridge.json").read_text()) == {"mapping": "ridge"}


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "name",
    ["results/../../x.json", "results/a/../../../x.json", "results//x/y.json", "results/a\\..\\b/c/d.json"],
)
def test_pull_refuses_names_that_lead_out(desk: Desk, name: str) -> None:
    desk.hub.put("dataset", DATASET, {"results/nano/S-L/a.json": b"{}", name: b"{}"})
    assert "not a plain relative file name" in desk.pull().error
    assert not (desk.folder / "pulled").exists()


def test_pull_takes_results_only_and_whole(desk: Desk) -> None:
    stray = (
        "results/run.py",
        "results/a/b/c.py",
        "results/a/b/c/d.json",
        "results/a/b/.x.json",
        "x/y/z/w.json",
    )
    desk.hub.put("dataset", DATASET, dict.fromkeys(("results/nano/S-L/a.json", *stray), b"{}"))
    assert desk.pull().value == 1
    assert list(tree_of(desk.folder / "pulled")) == ["nano/S-L/a.json"]
    head = desk.hub.repos["dataset", DATASET].at("main")
    head.tree["results/nano/S-L/a.json"] = Corrupt(b"[]", true="0" * 40)
    assert "arrived damaged" in desk.pull().error
    assert tree_of(desk.folder / "pulled") == {"nano/S-L/a.json": b"{}"}
    head.tree["results/nano/S-L/a.json"] = Blob(sha256="0" * 64, size=30_000_000)
    assert "larger than 20 MB" in desk.pull().error


def test_pull_of_what_is_not_there(desk: Desk) -> None:
    assert "no such dataset" in desk.pull().error
    assert "no such dataset" in desk.pull(token=None).error
    desk.hub.create("dataset", DATASET)
    assert "no such revision" in desk.pull(revision="v9").error
    assert desk.pull().value == 0


# What is published.


def test_published_dataset_loads(desk: Desk) -> None:
    import datasets

    copy = desk.folder / "copy"
    desk.board()
    for name, data in desk.hub.files("dataset", DATASET).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    cache = str(desk.folder / "cache")
    for config, columns in (("table", ["mapping", "score"]), ("tasks", ["mapping", "score", "task"])):
        loaded = datasets.load_dataset(str(copy), config, split="train", cache_dir=cache)
        assert loaded.column_names == columns
        assert loaded.num_rows == 2
    assert datasets.load_dataset(str(copy), cache_dir=cache)["train"].column_names == ["mapping", "score"]


def test_cards(desk: Desk) -> None:
    card = written(space_files(desk.site, "A: title"))["README.md"].decode()
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["title"], front["sdk"], front["app_file"]) == ("A: title", "static", "index.html")
    assert front["license"] == "apache-2.0"
    data = written(dataset_files(desk.results, desk.site, repo=DATASET))["README.md"].decode()
    assert [c["config_name"] for c in yaml.safe_load(data.split("---\n")[1])["configs"]] == ["table", "tasks"]
    assert "| `score` | double |" in data
    assert f'load_dataset("{DATASET}", "tasks", split="train")' in data
    assert written(dataset_files(desk.results, desk.site, repo=DATASET))["README.md"].decode() == data


def test_only_results_and_pages_are_published(desk: Desk) -> None:
    (desk.results / "nano" / "S-L" / ".ridge.json.tmp").write_text("half")
    (desk.results / "nano" / "S-L" / "orphan.safetensors").write_bytes(b"half")
    (desk.results / "nano" / "S-L" / "figure.png").write_bytes(b"png")
    (desk.results / "nano" / "notes.json").write_text("{}")
    (desk.results / "nano" / "S-L" / "link.json").symlink_to("/etc/hostname")
    (desk.site / ".secret").write_text("x")
    (desk.site / "link.html").symlink_to("/etc/hostname")
    names = sorted(dataset_files(desk.results, desk.site))
    assert names == sorted(
        ["README.md", "data/table.parquet", "data/tasks.parquet"]
        + [f"results/nano/S-L/{n}.{e}" for n in ("ridge", "affine") for e in ("json", "safetensors")]
    )
    assert sorted(space_files(desk.site, "t")) == [
        *("README.md", "assets/x.js", "downloads/table.parquet", "downloads/tasks.parquet", "index.html")
    ]


def test_nothing_to_publish(desk: Desk, tmp_path: Path) -> None:
    for folder in ("empty", "absent"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=folder):
            space_files(tmp_path / folder, "t")
        with pytest.raises(UserError, match=folder):
            dataset_files(tmp_path / folder, desk.site)
    with pytest.raises(UserError, match="missing: build"):
        dataset_files(desk.results, tmp_path / "empty")
    with pytest.raises(UserError, match="nowhere to publish"):
        hub.publish_leaderboard(desk.results, desk.site, space=None, dataset=None, report=print)
    with pytest.raises(UserError, match="nothing to publish"):
        hub.publish(hub.Destination(SPACE, "space"), {}, message="m", report=print)
