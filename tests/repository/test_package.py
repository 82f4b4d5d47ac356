"""The wheel holds what it needs, and works from any folder without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # whole runs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_ships_tasks_suites_and_weights(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for member in ("S", "S2", "M", "L"):
        assert f"lrt_bench/nano/weights/{member}/model.safetensors" in names
    assert "lrt_bench/_data/suites/nano.yaml" in names
    assert "lrt_bench/_data/tasks/sentiment/score.jsonl" in names
    assert wheel.stat().st_size < 30_000_000


def test_the_wheel_holds_the_package_and_nothing_of_the_workshop(wheel):
    """No tests, scripts, benchmarks or pages' sources; what makes the embedded family's corpus is in it."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"lrt_bench", f"{wheel.name.split('-py3')[0]}.dist-info"}
    parts = {part for name in names for part in name.split("/")[1:-1]}
    assert not parts & {"tests", "scripts", "benchmarks", "docs", "node_modules", ".github"}
    assert not [name for name in names if Path(name).name.startswith(("test_", "conftest"))]
    assert not [name for name in names if name.endswith((".j2.py", ".ipynb", ".md.j2"))]


@pytest.mark.slow
def test_the_installed_wheel_works_from_any_folder(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import lrt_bench, sys; assert lrt_bench.__file__.startswith(sys.argv[1]);"
        "from lrt_bench.cli.main import main; main(sys.argv[2:])"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*arguments):
        command = [sys.executable, "-c", code, str(site), *arguments]
        process = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
        )
        return json.loads(process.stdout)

    assert len(run("list", "tasks", "--json")) == len(list((ROOT / "tasks").glob("*/task.yaml")))
    rows = run("evaluate", "--pair", "planted-rotation", "--task", "person", "--mapping", "affine", "--json")
    scores = {row["mapping"]: row["transfer_score"] for row in rows}
    assert scores["affine"] > 99.5
