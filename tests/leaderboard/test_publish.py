"""`lrt-bench leaderboard publish` and `pull`, as a user types them, against the loopback Hub."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from boards import small_board
from command_line import COMMAND
from hub_desk import DATASET, READER, SPACE, TOKEN, Desk, desk, tree_of

pytestmark = pytest.mark.slow  # whole runs

__all__ = ["desk"]


@pytest.fixture(scope="module")
def board(small_run, tmp_path_factory):
    """Real results, their propensities beside those that have them."""
    results = small_board(small_run, tmp_path_factory.mktemp("publish") / "results")
    for path in (small_run / "small" / "rotated").glob("*.safetensors"):
        shutil.copy(path, results / "small" / "rotated")
    return results


def start(desk: Desk, *words: str, token: str | None = TOKEN, xet: bool = False) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": desk.hub.endpoint, "HF_HOME": str(desk.folder / "home")}
    environment |= {"HF_HUB_DISABLE_XET": "0" if xet else "1"} | ({"HF_TOKEN": token} if token else {})
    command = [*COMMAND, "leaderboard", *words]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, cwd=desk.folder)
    desk.processes.append(process)
    return process


def run(desk: Desk, *words: str, **more) -> tuple[int, str, str]:
    process = start(desk, *words, **more)
    out, err = process.communicate(timeout=120)
    assert TOKEN not in out + err
    assert "Traceback" not in err, err
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_publish_twice_then_pull(desk: Desk, board: Path, xet: bool) -> None:
    publish = ("publish", "--results", str(board), "--out", "pages", "--space", SPACE, "--dataset", DATASET)
    code, out, err = run(desk, *publish, "--verify", xet=xet)
    assert code == 0, err
    assert out.count("all as published") == 2
    before = desk.hub.commits("dataset", DATASET), desk.hub.commits("space", SPACE)
    code, out, _ = run(desk, *publish, xet=xet)
    assert code == 0
    assert out.count("nothing differs, no commit made") == 2
    assert (desk.hub.commits("dataset", DATASET), desk.hub.commits("space", SPACE)) == before
    code, out, err = run(desk, "pull", DATASET, "--out", "fetched", token=None, xet=xet)
    assert code == 0, err
    assert tree_of(desk.folder / "fetched") == tree_of(board)
    pages = desk.hub.files("space", SPACE)
    assert b"sdk: static" in pages["README.md"]
    assert b"method-3" in pages["index.html"]


def test_a_bad_result_is_not_published(desk: Desk, board: Path) -> None:
    results = desk.folder / "mine"
    shutil.copytree(board, results)
    (results / "small" / "ladder" / "bad.json").write_text("{")
    code, _, err = run(desk, "publish", "--results", str(results), "--out", "pages", "--dataset", DATASET)
    assert code == 1
    assert "left out:" in err
    names = desk.hub.files("dataset", DATASET)
    assert "results/small/ladder/method-0.json" in names
    assert not [name for name in names if "bad" in name]


@pytest.mark.slow
def test_killed_half_way_leaves_the_old_state_and_a_second_run_completes(desk: Desk, board: Path) -> None:
    publish = ("publish", "--results", str(board), "--out", "pages", "--space", SPACE, "--dataset", DATASET)
    assert run(desk, *publish)[0] == 0
    old = desk.hub.files("dataset", DATASET), desk.hub.files("space", SPACE)
    results = desk.folder / "mine"
    shutil.copytree(board, results)
    (results / "small" / "ladder" / "method-9.json").unlink()
    again = tuple(str(results) if word == str(board) else word for word in publish)
    fault = desk.hub.fail("POST", "/commit/", call=lambda: process.send_signal(signal.SIGKILL), drop=True)
    process = start(desk, *again)
    assert process.wait(60) == -signal.SIGKILL
    assert fault.times == 0
    assert (desk.hub.files("dataset", DATASET), desk.hub.files("space", SPACE)) == old
    assert run(desk, *again)[0] == 0
    assert "results/small/ladder/method-9.json" not in desk.hub.files("dataset", DATASET)
    assert b"method-9" not in desk.hub.files("space", SPACE)["index.html"]


@pytest.mark.parametrize(
    ("words", "token", "message"),
    [
        (("--space", "nobody"), TOKEN, "write ORG/NAME"),
        ((), TOKEN, "nowhere to publish"),
        (("--dataset", DATASET), READER, "write"),
        (("--dataset", DATASET), "hf_wrongwrongwrong", "token"),
        (("--dataset", DATASET), None, "token"),
    ],
)
def test_what_is_wrong_is_one_line(desk: Desk, board: Path, words, token, message) -> None:
    code, _, err = run(desk, "publish", "--results", str(board), "--out", "pages", *words, token=token)
    assert code == 2
    assert err.count("\n") == 1, err
    assert message in err
    assert not desk.hub.repos


def test_pull_of_a_missing_dataset_is_one_line(desk: Desk) -> None:
    code, _, err = run(desk, "pull", "acme/none")
    assert code == 2
    assert err.count("\n") == 1, err
    assert "acme/none" in err
