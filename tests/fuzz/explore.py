"""Look for inputs that a reader does not bear, and shorten them.

    python tests/fuzz/explore.py COUNT OUT [READER ...]

One folder for each kind of problem: OUT/READER-n with the files, and a README.txt with the outcome.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from harness import Harness, changed_copy, problem
from readers import READERS

TRIES = 40  # to shorten one finding


def kind(said: str | None) -> str | None:
    """A problem without its numbers: the same kind may be met at any size."""
    return said and re.sub(r"memory: .*", "memory", said)


def shorten(harness: Harness, reader: str, folder: Path, work: Path, wanted: str) -> None:
    """Take parts out of the changed files while the same problem is met."""
    tries = 0

    def still() -> bool:
        nonlocal tries
        tries += 1
        copy = work / "short"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy, symlinks=True)
        READERS[reader].mend(copy)
        return kind(problem(harness.ask(reader, copy)[0])) == wanted

    if not still():
        return
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        data = path.read_bytes()
        size = len(data)
        while size >= 1 and tries < TRIES:
            start, smaller = 0, False
            while start < len(data) and tries < TRIES:
                shorter = data[:start] + data[start + size :]
                path.write_bytes(shorter)
                if still():
                    data, smaller = shorter, True
                else:
                    path.write_bytes(data)
                    start += size
            size = size if smaller and size == 1 else size // 2
    READERS[reader].mend(folder)


def explore(harness: Harness, reader: str, count: int, out: Path, work: Path) -> dict[str, int]:
    """Problems of a reader, each with how often it was met; the smallest input of each in `out`."""
    valid = harness.made(reader, work / "valid")
    met: dict[str, int] = {}
    best: dict[str, tuple[int, int, str]] = {}
    for seed, said, outcome in harness.changed(reader, valid, count):
        if what := kind(problem(outcome)):
            met[what] = met.get(what, 0) + 1
            size = sum(p.stat().st_size for p in (work / "changed" / str(seed)).rglob("*") if p.is_file())
            best[what] = min(best.get(what, (1 << 60, 0, "")), (size, seed, said))
    for number, (what, (_, seed, said)) in enumerate(sorted(best.items()), 1):
        folder = out / f"{reader}-{number}"
        changed_copy(reader, valid, folder, seed)
        if not what.startswith("hangs"):
            shorten(harness, reader, folder, work, what)
        shutil.rmtree(work / "last", ignore_errors=True)
        shutil.copytree(folder, work / "last", symlinks=True)
        (outcome,) = harness.ask(reader, work / "last")
        lines = (
            what,
            f"met {met[what]} times in {count} inputs; seed {seed}: {said}",
            f"exit code {outcome['code']}, {outcome['more_mb']:.0f} MB",
            outcome["printed"][-6000:],
        )
        page = out / f"{reader}-{number}.txt"
        page.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")
    return met


def main(count: int, out: Path, names: list[str]) -> None:
    """Explore readers and print what was met."""
    out.mkdir(parents=True, exist_ok=True)
    harness = Harness()
    try:
        for reader in names or READERS:
            with tempfile.TemporaryDirectory() as work:
                try:
                    met = explore(harness, reader, count, out, Path(work))
                except AssertionError as error:
                    print(f"{reader}: the valid files fail: {error}", flush=True)
                    continue
            print(f"{reader}: {sum(met.values())} of {count}", flush=True)
            for what, times in met.items():
                print(f"    {times} x {what}", flush=True)
    finally:
        harness.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
