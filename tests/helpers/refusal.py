"""What the tests of refusal share: the embedded task, a suite of it, stand-ins of the paper's data sets."""

from __future__ import annotations

import json

from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import PairSpec, Suite
from lrt_bench.data.task_reading.task_folders import find_task

TASK = find_task("nano-refusal")
REFUSAL_SUITE = Suite(
    name="tiny-refusal",
    corpus={"fit_tokens": 6000, "validation_tokens": 600, "sample_tokens": 2000},
    shuffles=1, bootstrap=100, tasks=("nano-refusal",), mappings=("ridge",),
    pairs=(
        PairSpec(name="L-S", source="nano/L", source_layer=5, target="nano/S", target_layer=2),
        PairSpec(name="rotated", source="nano/S", source_layer=2, target="planted-rotation:nano/S",
                 target_layer=2),
        PairSpec(name="chosen", source="nano/S", target="nano/S",
                 choose_layers={"task": "nano-refusal", "depths": (0.4, 0.7)}),
    ),
)  # fmt: skip


def advbench(tmp_path, rows=200):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.csv"
    lines = [{"instruction": f"Bake {i} cakes.", "input": "no" if i % 5 == 0 else ""} for i in range(rows)]
    good.write_text("".join(json.dumps(line) + "\n" for line in lines))
    bad.write_text("prompt,target\n" + "".join(f"Rob {i} banks.,Sure\n" for i in range(rows)))
    return Data({"tatsu-lab/alpaca": str(good), "walledai/AdvBench": str(bad)})
