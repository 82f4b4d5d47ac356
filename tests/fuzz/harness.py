"""Asks the server of forks to read changed folders, and says what is wrong with an outcome."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutations import change_folder
from readers import READERS

SECONDS = 20.0  # for one input, after which its process is killed: a hang
MOST_MB = 500  # that reading one input may need beside what the process holds before
LONGEST = 5000  # characters of an error's line
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
TOGETHER = 25  # inputs that one fork reads one after the other
SERVER = Path(__file__).with_name("server.py")


class Harness:
    """One process that forks for every input; it ends with `close`."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "HF_HUB_OFFLINE": "1"}
        environment |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        command = [sys.executable, str(SERVER)]
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def ask(self, reader: str, *folders: Path, make: bool = False) -> list[dict[str, Any]]:
        """What became of reading each folder, or of writing valid files into it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"reader": reader, "folders": [*map(str, folders)], "make": make}
        request["seconds"] = 10 * SECONDS if make else SECONDS
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return [json.loads(self.process.stdout.readline()) for _ in folders]

    def made(self, reader: str, folder: Path) -> Path:
        """A folder of valid files for a reader, which reads them with exit code 0."""
        folder.mkdir(parents=True)
        for make in (True, False):
            (outcome,) = self.ask(reader, folder, make=make)
            assert outcome["code"] == 0, outcome["printed"]
        return folder

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)

    def changed(self, reader: str, valid: Path, count: int) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """(seed, what was changed, what became of it) for as many changes of the valid files."""
        work = valid.with_name("changed")
        for first in range(0, count, TOGETHER):
            seeds = range(first, min(first + TOGETHER, count))
            folders = [work / str(seed) for seed in seeds]
            said = [changed_copy(reader, valid, *pair) for pair in zip(folders, seeds, strict=True)]
            yield from zip(seeds, said, self.ask(reader, *folders), strict=True)
            shutil.rmtree(work)


def changed_copy(reader: str, valid: Path, folder: Path, seed: int) -> str:
    """The valid files with the changes of a seed, in a fresh folder. Says what was changed."""
    rng = random.Random(f"{reader} {seed}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(valid, folder, symlinks=True)
    said = change_folder(folder, rng)
    if rng.random() < 0.7:
        READERS[reader].mend(folder)
    return said


def problem(outcome: dict[str, Any]) -> str | None:
    """What no user should meet: a hang, a traceback, another exit code, much memory, control codes."""
    printed = outcome["printed"]
    if outcome["late"]:
        return f"hangs: not done after {SECONDS:.0f} seconds"
    if "Traceback (most recent call last)" in printed:
        frames = re.findall(r'File ".*?/((?:lrt_bench|site-packages)/[^"]+)", line (\d+)', printed)
        ours = [f"{name}:{line}" for name, line in frames if name.startswith("lrt_bench")]
        raised = [line for line in printed.splitlines() if re.match(r"[\w.]+", line)]
        return f"traceback: {raised[-1].split(':')[0]} at {ours[-1] if ours else '?'}"
    if outcome["code"] not in (0, 1, 2):
        return f"exit code {outcome['code']}"
    if outcome["more_mb"] > MOST_MB:
        return f"memory: {outcome['more_mb']:.0f} MB"
    if outcome["code"] == 2 and not re.search("error: |note: ", printed, re.IGNORECASE):
        return "exit code 2 without a line"
    if outcome["code"] == 2 and max(map(len, printed.splitlines())) > LONGEST:
        return "an error of many characters"
    if CONTROL.search(printed):
        return "control codes are printed"
    return None
