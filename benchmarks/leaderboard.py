"""How the leaderboard grows: seconds to build, bytes of the index's first load, milliseconds of a sort.

The boards are the repository's own results under other names, with other errors and the scores that follow,
a hundred mappings a pair. A sort is timed in Chromium, from the call to the laid out page, over every column.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Line, Settings
from lrt_bench.results.metrics import TaskErrors, transfer_score
from lrt_bench.results.statistics import inference
from lrt_bench.results.statistics.inference import TaskSample

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "leaderboard" / "results" / "nano" / "S-L"
ARRAYS = ("error", "energy", "split_error", "split_energy")
SIZES = (100, 1_000, 10_000)
MAPPINGS_A_PAIR = 97
CONTROLS = ("native", "native-split", "random")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def synthetic_board(folder: Path, size: int) -> None:
    """Write `size` results: pairs of three controls and 97 mappings."""
    rng = np.random.default_rng(0)
    controls = [json.loads((SOURCE / f"{name}.json").read_text()) for name in CONTROLS]
    ridge = (SOURCE / "ridge.json").read_text()
    written = 0
    while written < size:
        pair = f"pair-{written // (MAPPINGS_A_PAIR + len(CONTROLS)):03d}"
        mappings = range(min(MAPPINGS_A_PAIR, max(size - written - len(CONTROLS), 0)))
        records = [*controls, *(rescored(json.loads(ridge), rng, f"method-{n:03d}") for n in mappings)]
        place = folder / "nano" / pair
        place.mkdir(parents=True)
        for record in records:
            record["pair"]["name"] = pair
            (place / f"{record['mapping']['name']}.json").write_text(json.dumps(record, indent=1))
        written += len(records)


def rescored(record: dict[str, Any], rng: np.random.Generator, name: str) -> dict[str, Any]:
    """The record under another name, its errors scaled prompt by prompt, with the score that follows."""
    scale = rng.uniform(0.2, 6)
    errors = {}
    for task in record["tasks"]:
        factor = scale * rng.uniform(0.5, 1.5, np.shape(task["error"]))
        task["error"] = [[float(f"{v:.9g}") for v in row] for row in np.array(task["error"]) * factor]
        scored = TaskErrors(*(np.array(task[part]) for part in ARRAYS))
        task["share"] = scored.r2
        if task["steerable"]:
            errors[task["task"]] = scored
    record["mapping"]["name"] = name
    record["transfer_score"] = transfer_score(errors)
    samples = {task: TaskSample.of_errors(one) for task, one in errors.items()}
    record["ci95"] = inference.new_concepts(samples)
    record["ci95_these_tasks"] = None
    return record


def build_seconds(results: Path, site: Path) -> float:
    """Wall time of the command as a user starts it."""
    command = [sys.executable, "-m", "lrt_bench.cli", "leaderboard", "build"]
    began = time.perf_counter()
    subprocess.run([*command, "--results", results, "--out", site], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def in_browser(site: Path) -> tuple[int, list[float]]:
    """Bytes that the index loads, and milliseconds of each sort."""
    from playwright.sync_api import sync_playwright

    script = """([column, way]) => { const table = new DataTable.Api('table.results'); const start =
        performance.now(); table.order([[column, way]]).draw(); document.body.offsetHeight;
        return performance.now() - start; }"""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page()
        loaded: list[int] = []
        page.on("requestfinished", lambda request: loaded.append(Path(request.url[7:]).stat().st_size))
        page.goto(f"{site.as_uri()}/index.html")
        page.wait_for_load_state()
        sorts = [page.evaluate(script, [column, way]) for column in range(10) for way in ("asc", "desc")]
        browser.close()
    return sum(loaded), sorts


def board(size: int) -> dict[str, float]:
    """Seconds of a build, megabytes of the first load, milliseconds of sorts; the last two want Chromium."""
    with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        synthetic_board(Path(folder) / "results", size)
        figures = {"build": build_seconds(Path(folder) / "results", Path(folder) / "site")}
        if shutil.which("chromium"):
            loaded, sorts = in_browser(Path(folder) / "site")
            figures |= {"load": loaded / 1e6, "sort": statistics.median(sorts), "slowest": max(sorts)}
    return figures


def measure(settings: Settings) -> list[Line]:
    """A build's seconds for each size of the board, and what a reader's browser has to do."""
    lines = []
    for size in (20,) if settings.quick else SIZES:
        figures = board(size)
        note = "no Chromium here: loads and sorts are not timed"
        if "load" in figures:
            note = "first load {load:.2f} MB; a sort {sort:.0f} ms, the slowest {slowest:.0f} ms".format(
                **figures
            )
        lines.append(Line("leaderboard", f"build of {size:,} results", figures["build"], "s", note=note))
    return lines
