"""One command for a machine with a GPU: the full-size parts, and one pair's figures beside the CPU's.

    make gpu-check                       on a CUDA device, in less than nine minutes
    python -m benchmarks.gpu_check --device cpu --quick     its stand-in: the CPU beside itself, other batches

It wants neither data sets nor lm-eval. It ends with 1 where a figure lies further from the CPU's than
`TOLERANCES` allow.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.record import Line, Settings
from benchmarks.report import Report, show
from benchmarks.timing import clock, machine
from lrt_bench.data.suites import Suite, find_suite
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.results.storage import Result

PAIR = "S-L"
MAPPINGS = ("affine", "ridge", "orthogonal")
# How far a figure may lie from the CPU's, and why. Models and sweeps compute in float32 on both: what differs
# is the order of sums. The moments' products are in TF32 on a GPU, which keeps 11 bits of a state; their
# means and merges are in float64.
TOLERANCES = {
    "spread": 1e-3,  # of itself: from the moments
    "unit of alpha": 2e-2,  # of itself: the search for it ends within 1%
    "Transfer Score": 1.0,  # points
    "steering R2": 0.02,
    "FVU": 2e-3,
    "share of a task": 0.05,  # greedy texts may part at a tie
}
RELATIVE = ("spread", "unit of alpha")


def narrowed(quick: bool) -> Suite:
    """The default suite's late pair; a few of its tasks where it is to be quick."""
    suite = find_suite("nano")
    pairs = [pair for pair in suite.pairs if pair.name == PAIR]
    tasks = ["number", "person"] if quick else [name for name in suite.tasks if not name.startswith("write-")]
    return suite.model_copy(update={"pairs": tuple(pairs), "tasks": tuple(tasks)})


def results_on(device: str, batch_size: int, suite: Suite) -> dict[str, Result]:
    """Results of the pair's rows, computed on a device from nothing."""
    with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        config = RunConfig(
            mappings=MAPPINGS, device=device, batch_size=batch_size, out=Path(folder), no_cache=True
        )
        cells = Evaluation(suite, config).run()
        return {cell.result.mapping.name: cell.result for cell in cells}


def figures(result: Result) -> dict[tuple[str, str], float | None]:
    """What is compared of a row: {(kind of figure, of what): it}."""
    name = result.mapping.name
    found: dict[tuple[str, str], float | None] = {
        ("spread", "target"): result.settings.spread,
        ("Transfer Score", name): result.transfer_score,
        ("steering R2", name): result.steering_r2,
        ("FVU", name): result.fvu,
    }
    if result.behaviour is not None:
        found["unit of alpha", "target"] = result.behaviour.unit.length
    return found | {("share of a task", f"{name}, {task.task}"): task.share for task in result.tasks}


def compared(ours: dict[str, Result], cpu: dict[str, Result]) -> list[Line]:
    """The greatest difference of each kind of figure, beside its tolerance."""
    worst: dict[str, tuple[float, str]] = {}
    for name in MAPPINGS:
        pairs = figures(cpu[name])
        for key, value in figures(ours[name]).items():
            kind, what = key
            expected = pairs.get(key)
            gap = _gap(value, expected, relative=kind in RELATIVE)
            worst[kind] = max(worst.get(kind, (0.0, what)), (gap, what))
    return [
        Line("gpu-check", f"{kind}: greatest difference to the CPU", gap, "", goal=TOLERANCES[kind],
             sense="at most", note=what + (", relative" if kind in RELATIVE else ""))
        for kind, (gap, what) in worst.items()
    ]  # fmt: skip


def _gap(value: float | None, expected: float | None, *, relative: bool) -> float:
    if value is None or expected is None:
        return 0.0 if value is expected else float("inf")  # one of them has no such figure
    return abs(value - expected) / (abs(expected) if relative else 1.0)


def measure(settings: Settings) -> list[Line]:
    """Both devices' figures of one pair, and their seconds."""
    suite = narrowed(settings.quick)
    on_cpu, cpu = clock(lambda: results_on("cpu", 64, suite))
    batch = (
        64 if settings.device != "cpu" else 48
    )  # other batches round otherwise: a stand-in's only difference
    taken, ours = clock(lambda: results_on(settings.device, batch, suite))
    spent = [Line("gpu-check", f"{PAIR} on {name}", value, "s")
             for name, value in (("cpu", on_cpu), (settings.device, taken))]  # fmt: skip
    return spent + compared(ours, cpu)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="few tasks and small shapes, for tests")
    parser.add_argument("--out", type=Path, help="folder of results.json, README.md and figure.svg")
    arguments = parser.parse_args()
    settings = Settings(arguments.quick, arguments.device)
    report = Report(machine())
    from benchmarks import gpu

    try:
        report.taken["gpu-check"], report.lines = clock(lambda: measure(settings))
        report.taken["gpu"], lines = clock(lambda: gpu.measure(settings))
        report.lines += [replace(line, part="gpu") for line in lines]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    show(report)
    if arguments.out:
        report.write(arguments.out)
    sys.exit(0 if all(line.met is not False for line in report.lines if line.part == "gpu-check") else 1)


if __name__ == "__main__":
    main()
