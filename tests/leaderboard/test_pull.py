"""Fetching results from our own loopback Hub with the real client, and what a published dataset holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hub_desk import DATASET, SPACE, Corrupt, Desk, tree_of, written
from hub_desk import desk as desk
from hub_store import Blob

from lrt_bench.data.hub import repository as hub
from lrt_bench.errors import UserError
from lrt_bench.leaderboard.cards import dataset_files, space_files
from lrt_bench.leaderboard.publish import publish_leaderboard

pytestmark = pytest.mark.slow  # whole runs


@pytest.mark.slow
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


@pytest.mark.parametrize(("status", "line"), [(409, "the Hub refused"), (503, "server error (503)")])
def test_pull_while_the_hub_fails(desk: Desk, status: int, line: str) -> None:
    desk.publish()
    fault = desk.hub.fail("GET", "/tree/", status=status, times=2)
    assert desk.pull().value == 4
    fault.times = 999
    assert line in desk.pull().error


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
        assert set(columns) <= set(loaded.column_names)
        assert loaded.num_rows == 2
    by_default = datasets.load_dataset(str(copy), cache_dir=cache)["train"]
    assert {"mapping", "score"} <= set(by_default.column_names)
    assert "task" not in by_default.column_names


def test_cards(desk: Desk) -> None:
    card = written(space_files(desk.site, "A: title"))["README.md"].decode()
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["title"], front["sdk"], front["app_file"]) == ("A: title", "static", "index.html")
    assert front["license"] == "apache-2.0"
    data = written(dataset_files(desk.records, desk.site, repo=DATASET))["README.md"].decode()
    assert [c["config_name"] for c in yaml.safe_load(data.split("---\n")[1])["configs"]] == ["table", "tasks"]
    assert "| `score` | double |" in data
    assert f'load_dataset("{DATASET}", "tasks", split="train")' in data
    assert written(dataset_files(desk.records, desk.site, repo=DATASET))["README.md"].decode() == data


def test_only_results_and_pages_are_published(desk: Desk) -> None:
    (desk.results / "nano" / "S-L" / ".ridge.json.tmp").write_text("half")
    (desk.results / "nano" / "S-L" / "orphan.safetensors").write_bytes(b"half")
    (desk.results / "nano" / "S-L" / "figure.png").write_bytes(b"png")
    (desk.results / "nano" / "S-L" / "affine.safetensors").unlink()
    (desk.results / "nano" / "S-L" / "affine.safetensors").symlink_to("/etc/hostname")
    (desk.site / ".secret").write_text("x")
    (desk.site / "link.html").symlink_to("/etc/hostname")
    names = sorted(dataset_files(desk.records, desk.site))
    assert names == sorted(
        ["README.md", "croissant.json", "eval.yaml", "data/table.parquet", "data/tasks.parquet"]
        + [f"results/nano/S-L/{name}" for name in ("affine.json", "ridge.json", "ridge.safetensors")]
    )
    assert sorted(space_files(desk.site, "t")) == [
        *("README.md", "assets/x.js", "downloads/table.parquet", "downloads/tasks.parquet", "index.html")
    ]


def test_nothing_to_publish(desk: Desk, tmp_path: Path) -> None:
    for folder in ("empty", "absent"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=folder):
            space_files(tmp_path / folder, "t")
    with pytest.raises(UserError, match="missing: build"):
        dataset_files(desk.records, tmp_path / "empty")
    with pytest.raises(UserError, match="nowhere to publish"):
        publish_leaderboard(desk.records, desk.site, space=None, dataset=None, report=print)
    with pytest.raises(UserError, match="nothing to publish"):
        hub.publish(hub.Destination(SPACE, "space"), {}, message="m", report=print)
