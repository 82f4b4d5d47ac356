"""Result files for the leaderboard's tests: real ones of a small run, copied under other names and scores."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from lrt_bench.results.metrics import TaskErrors, transfer_score
from lrt_bench.results.statistics import inference
from lrt_bench.results.statistics.inference import TaskSample

CONTROLS = ("native", "native-split", "random", "none", "shuffled", "other-concept", "readout", "unembedding")
ARRAYS = ("error", "energy", "split_error", "split_energy")


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def rescored(record: dict[str, Any], share: float, seed: int = 0) -> dict[str, Any]:
    """The record with errors of about `1 - share` of the native effect, and the score that follows."""
    made, rng = copy.deepcopy(record), np.random.default_rng(seed)
    errors = {}
    for task in made["tasks"]:
        energy = np.array(task["energy"])
        factor = (1 - share) * rng.uniform(0.8, 1.2, (len(task["error"]), len(energy)))
        task["error"] = (energy * factor).tolist()
        task["steering_r2"] = float(1 - np.array(task["error"]).mean(0).sum() / energy.sum())
        if task["steerable"]:
            errors[task["task"]] = TaskErrors(*(np.array(task[name]) for name in ARRAYS))
    made["transfer_score"] = transfer_score(errors)
    counted = [task for task in made["tasks"] if task["steerable"]]
    for name in ("steering_r2", "correlation_delta"):
        made[name] = float(np.mean([task[name] for task in counted]))
    samples = {name: TaskSample.of_errors(one) for name, one in errors.items()}
    made["ci95"] = inference.new_concepts(samples)
    made["ci95_these_tasks"] = inference.these_tasks(samples, replicates=200)
    made["not_steerable"] = [task["task"] for task in made["tasks"] if not task["steerable"]]
    return made


def write(results: Path, record: dict[str, Any], name: str | None = None, **fields: Any) -> Path:
    """Write a record under a name and other fields, given as mapping__link=..., and return its path."""
    record = copy.deepcopy(record)
    if name is not None:
        record["mapping"]["name"] = name
    for field, value in fields.items():
        *parents, last = field.split("__")
        part = record
        for parent in parents:
            part = part[int(parent) if parent.isdigit() else parent]
        part[int(last) if last.isdigit() else last] = value
    safe = "".join(
        letter if letter.isalnum() or letter in "-_." else "_" for letter in record["mapping"]["name"]
    )
    path = results / record["suite"] / record["pair"]["name"].replace("/", "_") / f"{safe[:60]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def small_board(small_run: Path, results: Path) -> Path:
    """Two pairs: the real one, and a smaller copy in which ten methods have shares 0.95, 0.85, ..."""
    source = small_run / "small" / "rotated"
    for path in sorted(source.glob("*.json")):
        write(results, read(path))
    for name in ("native", "native-split", "random"):
        write(results, read(source / f"{name}.json"), pair__name="ladder", pair__target__parameters=100_000)
    for step in range(10):
        record = rescored(read(source / "ridge.json"), 0.95 - 0.1 * step, seed=step)
        write(
            results, record, f"method-{step}", pair__name="ladder", pair__target__parameters=100_000,
            mapping__origin="file", provenance__created=f"2026-01-{step + 1:02d}T00:00:00Z",
        )  # fmt: skip
    return results


LADDER = {"few-200": (200, 0.2), "few-1000": (1000, 0.5), "few-5000": (5000, 0.7)}  # tokens, ridge's share


def ladder_board(small_run: Path, results: Path, suite: str = "ladder") -> Path:
    """Three pairs of the same sites whose maps read more and more tokens; mlp is best, affine worst."""
    source = small_run / "small" / "rotated"
    for pair, (tokens, share) in LADDER.items():
        for path in sorted(source.glob("*.json")):
            record = read(path)
            better = {"ridge": 0.0, "mlp": 0.2, "affine": -0.1}.get(path.stem)
            if better is not None:
                record = rescored(record, share + better, seed=len(path.stem))
            if better is not None or record["mapping"]["control"]:
                read_tokens = tokens if record["cost"]["fit_tokens"] else 0
                write(results, record, suite=suite, pair__name=pair, cost__fit_tokens=read_tokens)
    return results


QWEN = (
    ("Qwen/Qwen2.5-Coder-0.5B", 494_032_768, 896, 24),
    ("Qwen/Qwen2.5-Coder-1.5B", 1_543_714_304, 1536, 28),
)
COMMITTED = Path(__file__).parents[2] / "leaderboard" / "results"
MAPS = ("affine", "affine-with-bias", "ridge", "orthogonal", "low-rank", "mlp", "autoencoder")


def committed(pair: str, suite: str = "nano") -> list[Path]:
    """Committed results of a pair: its controls and seven maps, so that a board takes no longer with more."""
    paths = sorted((COMMITTED / suite / pair).glob("*.json"))
    return [path for path in paths if path.stem in (*MAPS, *CONTROLS)]


def copy_committed(results: Path, *pairs: str, suite: str = "nano") -> Path:
    """Copy those results of some pairs into a folder of results."""
    for pair in pairs:
        (results / suite / pair).mkdir(parents=True)
        for path in committed(pair, suite):
            shutil.copy(path, results / suite / pair / path.name)
    return results


def pretrained_board(results: Path, suite: str = "qwen2.5-coder") -> Path:
    """Records of the committed board under the names and sizes of two pretrained models, both ways."""
    for (source, target), real in ((QWEN, "S-L-early"), (QWEN[::-1], "L-S-early")):
        short = "--".join(model.rpartition("-")[2].lower() for model, *_ in (source, target))
        for path in committed(real):
            record = read(path) | {"suite": suite}
            record["pair"]["name"] = short
            for side, (model, parameters, width, layers) in (("source", source), ("target", target)):
                layer = round(0.7 * layers)
                record["pair"][side] |= {
                    "model": model, "parameters": parameters, "width": width, "layer": layer,
                    "depth": layer / layers,
                }  # fmt: skip
            write(results, record)
    return results


def score_text(pair: str, mapping: str) -> str:
    """A committed score of the suite `nano` with its interval, as pages write it."""
    record = read(COMMITTED / "nano" / pair / f"{mapping}.json")
    low, high = (f"{end:.1f}".replace("-", "\N{MINUS SIGN}") for end in record["ci95"])
    return f"{record['transfer_score']:.1f} [{low}, {high}]"
