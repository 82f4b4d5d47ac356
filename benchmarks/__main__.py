"""The bench: measures its parts in one run, prints the table, writes the pages.

    python -m benchmarks [--parts fit,sweep] [--out FOLDER] [--device cuda] [--quick]

A whole run writes benchmarks/results.json, README.md and figure.svg. A run of some parts only prints, unless
--out says where to. --render writes the pages again from results.json.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

from benchmarks.record import Line, Settings, UnavailableError
from benchmarks.report import HERE, Report, show
from benchmarks.timing import clock, machine
from lrt_bench.errors import UserError

PARTS = (
    "start", "evaluate", "loop", "fit", "sweep", "pretrained", "generation", "memory", "growth",
    "leaderboard", "gpu",
)  # fmt: skip
EXTRA = ("large",)  # not of a whole run: wants --model


def measured(part: str, settings: Settings) -> list[Line]:
    """The lines of one part; its libraries are imported only now."""
    lines: list[Line] = importlib.import_module(f"benchmarks.{part}").measure(settings)
    return lines


def reason(error: Exception) -> str:
    """Why a part failed, in one line; of a command, its last words."""
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr or b""
        lines = (said if isinstance(said, str) else said.decode(errors="replace")).strip().splitlines()
        return f"a command of it ended with {error.returncode}: {lines[-1] if lines else 'no word'}"
    return str(error)


def run(parts: tuple[str, ...], settings: Settings) -> tuple[Report, bool]:
    """Run the parts; one that fails is left out, and says why. Also whether none failed."""
    report, well = Report(machine()), True
    for part in parts:
        print(f"{part} ...", file=sys.stderr, flush=True)
        try:
            report.taken[part], lines = clock(lambda part=part: measured(part, settings))  # type: ignore[misc]
        except (UserError, ImportError, subprocess.CalledProcessError) as error:
            report.left_out[part] = reason(error)
            well = well and isinstance(error, UnavailableError)
        else:
            report.lines += lines
            print(f"{part}: {report.taken[part]:.0f} s", file=sys.stderr, flush=True)
    return report, well


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated: %(default)s")
    parser.add_argument("--out", type=Path, help="folder of the pages; a whole run writes to benchmarks/")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--smollm2", type=Path, metavar="FILE.gguf", help="SmolLM2-135M, if it is at hand")
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="of the part large; repeatable",
    )
    parser.add_argument("--quick", action="store_true", help="shapes of seconds, for tests")
    parser.add_argument("--render", action="store_true", help="only write the pages anew from results.json")
    arguments = parser.parse_args()
    parts = tuple(arguments.parts.split(","))
    if unknown := set(parts) - {*PARTS, *EXTRA}:
        parser.error(f"--parts {min(unknown)}: give some of {', '.join((*PARTS, *EXTRA))}")
    settings = Settings(arguments.quick, arguments.device, arguments.smollm2, tuple(arguments.model))
    try:
        if arguments.render:
            Report.read((arguments.out or HERE) / "results.json").write(arguments.out or HERE)
            return
        report, well = run(parts, settings)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    show(report)
    whole = parts == PARTS and not arguments.quick
    if folder := arguments.out or (HERE if whole else None):
        report.write(folder)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
