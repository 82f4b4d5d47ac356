"""Publishing, with the real client against our own loopback Hub, over Xet and over LFS."""

from __future__ import annotations

import hashlib
import signal
import threading

import pytest
from hub_desk import DATASET, GUEST, READER, SPACE, TOKEN, Corrupt, Desk, Outcome, without_attributes, written
from hub_desk import desk as desk
from hub_store import Account

from lrt_bench.data.hub import repository as hub
from lrt_bench.errors import UserError
from lrt_bench.leaderboard.cards import dataset_files, space_files
from lrt_bench.leaderboard.publish import TITLE

pytestmark = pytest.mark.slow  # whole runs


@pytest.mark.slow
@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_first_publish_then_nothing_then_one_file_then_one_gone(desk: Desk, xet: bool) -> None:
    first = desk.board(space=SPACE, xet=xet, verify=True).value
    assert [(p["repo"], p["kind"]) for p in first] == [(DATASET, "dataset"), (SPACE, "space")]
    assert desk.hub.commits("dataset", DATASET) == desk.hub.commits("space", SPACE) == 1
    files = written(dataset_files(desk.records, desk.site, repo=DATASET))
    assert without_attributes(desk.hub.files("dataset", DATASET)) == files
    assert sorted(first[0]["added"]) == sorted(files)
    pages = written(space_files(desk.site, TITLE, dataset=DATASET))
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
    done = desk.publish(GUEST, create_pr=True, verify=True, xet=xet).value[0]
    assert done["pr_url"].endswith(f"/datasets/{DATASET}/discussions/1")
    assert desk.hub.files("dataset", DATASET) == before
    listing = desk.hub.files("dataset", DATASET, "refs/pr/1")
    assert listing["results/nano/S-L/ridge.json"] == b"{}"


def test_the_token_is_written_nowhere(desk: Desk) -> None:
    desk.publish(xet=True, verify=True)
    desk.hub.fail("POST", "/commit/", status=500, times=9)
    desk.publish(xet=True, files={"README.md": str(desk.site / "index.html")})
    assert desk.hub.uploads() == 1
    files = [path for path in desk.folder.rglob("*") if path.is_file() and "hub" not in path.parts]
    assert files
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("where", ["PUT /lfs/", "POST /commit/", "GET xet-write-token"])
def test_killed_half_way_then_a_second_run_completes(desk: Desk, where: str) -> None:
    xet = "xet" in where
    desk.publish(xet=xet)
    before = desk.hub.files("dataset", DATASET)
    (desk.results / "nano" / "S-L" / "ridge.safetensors").write_bytes(b"longer" * 100_000)
    (desk.results / "nano" / "S-L" / "ridge.json").write_text("{}")
    reached, dead = threading.Event(), threading.Event()
    method, path = where.split()
    desk.hub.fail(method, path, call=lambda: (reached.set(), dead.wait(20)), drop=True)
    upload = {"repo": DATASET, "kind": "dataset", "files": desk.files}
    process = desk.start("publish", xet=xet, **upload)
    assert reached.wait(30)
    process.kill()
    process.communicate()
    dead.set()
    assert desk.hub.files("dataset", DATASET) == before
    assert len(desk.publish(xet=xet, verify=True).value[0]["changed"]) == 2
    assert desk.hub.commits("dataset", DATASET) == 2


def test_interrupted_by_its_user(desk: Desk) -> None:
    reached, gone = threading.Event(), threading.Event()
    desk.hub.fail("PUT", "/lfs/", call=lambda: (reached.set(), gone.wait(20)))
    upload = {"repo": DATASET, "kind": "dataset", "files": desk.files}
    process = desk.start("publish", **upload)
    assert reached.wait(30)
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


@pytest.mark.slow
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


def test_a_repository_that_holds_something_else_is_left_alone(desk: Desk) -> None:
    desk.hub.create("dataset", DATASET)
    desk.hub.put("dataset", DATASET, {"thesis/data.csv": b"years of work"})
    outcome = desk.board()
    assert "holds something else (thesis/data.csv)" in outcome.error
    kept = without_attributes(desk.hub.files("dataset", DATASET))
    assert kept == {"thesis/data.csv": b"years of work"}
    assert "holds something else" in desk.board(dry_run=True).error
